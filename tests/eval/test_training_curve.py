import math

from vlm_eval.training_curve import Collapse, training_curve


def step(number, loss=1.0, phase=0, steps=2):
    return {"event": "step", "phase": phase, "step": number, "epoch": number / steps, "loss": loss, "lr": 0.1 * number}


def epoch(number, accuracy, phase=0, best=False, **facts):
    scores = {"val_accuracy": accuracy, "val_nll": 1.0, "best": best}
    return {"event": "epoch", "phase": phase, "epoch": number, "step": 2 * number, **scores, **facts}


def test_steps_and_epochs_share_one_axis():
    curve = training_curve([step(1, 3.0), step(2, 2.0), epoch(1, 0.5), step(3, 1.0)])
    assert curve.loss.epochs == (0.5, 1.0, 1.5) and curve.loss.values == (3.0, 2.0, 1.0)
    assert curve.lr.values == (0.1, 0.2, 0.1 * 3)
    assert curve.validation.epochs == (1,)


def test_a_later_phase_goes_on_where_the_earlier_one_ended():
    events = [step(1), step(2), epoch(1, 0.5, best=True), step(1, phase=1), epoch(1, 0.7, phase=1, best=True)]
    curve = training_curve(events)
    assert curve.loss.epochs == (0.5, 1.0, 1.5)
    assert curve.phase_starts == (1.0,)
    assert curve.best_epochs == (1.0, 2.0), "each phase keeps one epoch"


def test_only_the_last_best_epoch_of_a_phase_was_kept():
    curve = training_curve([epoch(1, 0.5, best=True), epoch(2, 0.6, best=True), epoch(3, 0.4)])
    assert curve.best_epochs == (2,)


def test_a_shift_that_is_tracked_from_the_start_begins_at_zero():
    start = {"event": "start", "phase": 0, "step": 0, "shifts": {"d/a": 0.6}}
    curve = training_curve([start, epoch(1, 0.5, shifts={"d/a": 0.4})])
    assert curve.shifts["d/a"].epochs == (0, 1) and curve.shifts["d/a"].values == (0.6, 0.4)


def test_a_collapse_that_names_no_epoch_happened_at_the_one_before_it():
    fall = {"event": "collapse", "data": "d/a", "zero_shot": 0.5, "accuracy": 0.1}
    curve = training_curve([epoch(1, 0.5), epoch(2, 0.5), fall])
    assert curve.collapses == (Collapse(2, "d/a", 0.5, 0.1),)


def test_a_loss_that_is_not_finite_ends_the_line_and_is_told():
    curve = training_curve([step(1), step(2, math.nan)])
    assert curve.loss.epochs == (0.5,) and curve.diverged == 1.0


def test_epochs_without_steps_are_enough():
    assert training_curve([epoch(1, 0.5)]).loss.values == ()


def test_a_log_without_training_has_no_curve():
    assert training_curve([]) is None
    assert training_curve([{"event": "start"}, {"event": "end"}]) is None
