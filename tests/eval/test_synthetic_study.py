"""The synthetic study of Oh et al. (2024), small: do sigma_min and ID calibration tell errors under a shift?

Features 1-40 and 41-80 carry a binary label of which 15 % are flipped, 81-100 are noise. Under the shift the first lose
their link to the label and the second are halved. Models differ in the strength of an orthogonality term on the last
map of features and of distillation from an earlier model. The paper reports a strong positive correlation of the mean
of 1 / sigma_min and ID ECE with the error and the ECE under the shift; what is expected here is the sign.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vlm_eval.metrics.calibration import expected_calibration_error
from vlm_eval.metrics.correlation import correlation
from vlm_eval.metrics.spectrum import feature_spectrum

WIDTH, LINK = 100, 0.25


def drawn(rng, count, shifted):
    labels = rng.integers(0, 2, count)
    sign = 2 * labels[:, None] - 1
    features = rng.normal(size=(count, WIDTH))
    features[:, :40] += 0 if shifted else LINK * sign
    features[:, 40:80] += LINK * sign
    features[:, 40:80] *= 0.5 if shifted else 1
    labels = np.where(rng.random(count) < 0.15, 1 - labels, labels)
    return torch.tensor(features, dtype=torch.float32), torch.tensor(labels)


def trained(features, labels, orthogonality, distillation, teacher, epochs=8):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = nn.Sequential(*(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16)))
        head = nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*tower.parameters(), *head.parameters()], lr=2e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(features), generator=order).split(128):
            logits = head(tower(features[rows]))
            weight = tower[-1].weight
            loss = functional.cross_entropy(logits, labels[rows])
            loss = loss + orthogonality * (weight @ weight.T - torch.eye(16)).norm()
            if teacher:
                with torch.no_grad():
                    target = teacher[1](teacher[0](features[rows])).softmax(dim=1)
                loss = loss + distillation * functional.cross_entropy(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return tower, head


def judged(tower, head, known, shifted):
    """1 / sigma_min and ECE on ID data, squared error and ECE under the shift."""
    found = []
    with torch.no_grad():
        for features, labels in (known, shifted):
            inside = tower(features)
            probabilities = head(inside).double().softmax(dim=1).numpy()
            ece = expected_calibration_error(probabilities, labels.numpy())
            error = float(((probabilities[:, 1] - labels.numpy()) ** 2).mean())
            found.append((feature_spectrum([inside.numpy()]).inverse_sigma_min, ece, error))
    return found[0][0], found[0][1], found[1][2], found[1][1]


def test_sigma_min_and_calibration_on_id_data_go_with_the_error_under_a_shift():
    rng = np.random.default_rng(0)
    training, known, shifted = drawn(rng, 2000, False), drawn(rng, 3000, False), drawn(rng, 3000, True)
    teacher = trained(*training, 0.0, 0.0, None, epochs=4)
    models = [
        trained(*training, orthogonality, distillation, teacher)
        for orthogonality in (0.0, 0.05, 0.2)
        for distillation in (0.0, 0.5, 2.0)
    ]
    inverse, ece, error, shifted_ece = np.array([judged(*model, known, shifted) for model in models]).T
    for outcome in (error, shifted_ece):
        assert correlation(np.stack([inverse, ece]), outcome).pearson > 0.3
        assert correlation(ece, outcome).spearman > 0.3
    assert inverse[:3].min() > inverse[6:].max()  # the orthogonality term raises sigma_min
