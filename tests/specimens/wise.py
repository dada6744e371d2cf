"""The classifiers of the golden area `wise`, whose program is not an encoder of any family."""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from vlm_data.preprocess import Preprocess
from vlm_models.classifier import LINEAR, Classifier, LinearHead
from vlm_models.interface import DualEncoder

GOLDEN = Path(__file__).parents[1] / "golden" / "wise"


class Published(DualEncoder):
    """The image encoder of the golden data: flatten, fc1, ReLU, LayerNorm, fc2."""

    def __init__(self):
        super().__init__()
        self.tower = nn.ModuleDict({"fc1": nn.Linear(108, 24), "ln": nn.LayerNorm(24), "fc2": nn.Linear(24, 16)})
        self.spec, self.architecture, self.preprocess, self.embedding_dim = "published", {}, Preprocess(6), 16

    def encode_image(self, images):
        hidden = functional.relu(self.tower["fc1"](images.flatten(1)))
        return self.tower["fc2"](self.tower["ln"](hidden))

    def image_tower(self):
        return self.tower

    def encode_text(self, tokens):
        raise NotImplementedError

    tokenize = logit_scale = encode_text


def published(group, kind=Published):
    """Return the classifier whose tensors the golden data keeps under `group`."""
    weights = load_file(GOLDEN / "weights.safetensors")
    own = {name.removeprefix(f"{group}/"): tensor for name, tensor in weights.items() if name.startswith(f"{group}/")}
    encoder = kind()
    encoder.tower.load_state_dict(
        {name.removeprefix("image_encoder."): t for name, t in own.items() if name.startswith("image_encoder.")}
    )
    head = LinearHead(own["classification_head.weight"], own["classification_head.bias"])
    return Classifier(encoder, head, LINEAR, [str(i) for i in range(10)], ["{c}"])
