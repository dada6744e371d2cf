"""What is remembered of the teacher, and when it is forgotten."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vlm_finetune.pairs import PairEncoder, RememberedTexts, distinct

MODELS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("grad_cache_worker.py"))))
CAPTIONS = [f"the digit {word}" for word in ("zero", "one", "two", "three", "four")]


@pytest.fixture
def encoder():
    return MODELS.random_encoder().double().eval()


@pytest.fixture
def encoded(encoder):
    """How many texts pass through the text tower at each call."""
    counts = []
    encoder.clip.token_embedding.register_forward_hook(lambda _, args, __: counts.append(len(args[0])))
    return counts


@pytest.fixture
def method():
    """CaRot with a teacher that moves after every second step, in float64."""
    return MODELS.build("carot", {"teacher_every": 2, "teacher_counter": "after_step"})


class TestRememberedTexts:
    def test_each_caption_is_encoded_once(self, encoder, encoded):
        remembered = RememberedTexts(PairEncoder())
        with torch.inference_mode():
            for texts in (CAPTIONS[:3], CAPTIONS[1:4], CAPTIONS[3:0:-1], CAPTIONS):
                found = remembered(encoder, texts, "cpu")
                expected = PairEncoder().texts(encoder, texts, "cpu")
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert encoded == [
            3,
            3,
            1,
            3,
            3,
            1,
            5,
        ]  # what is remembered and what it is compared with; the third time only the latter

    def test_what_is_forgotten_is_encoded_again(self, encoder, encoded):
        remembered = RememberedTexts(PairEncoder())
        with torch.inference_mode():
            before = remembered(encoder, CAPTIONS, "cpu")
            for parameter in encoder.parameters():
                parameter += 0.1
            assert torch.equal(remembered(encoder, CAPTIONS, "cpu"), before)
            remembered.forget()
            found = remembered(encoder, CAPTIONS, "cpu")
            assert torch.equal(found, PairEncoder().texts(encoder, CAPTIONS, "cpu"))
        assert not torch.allclose(found, before)


class TestTheTeacher:
    def test_its_texts_are_encoded_once_between_two_updates(self, method):
        counts = []
        method.teacher.model.clip.token_embedding.register_forward_hook(lambda _, args, __: counts.append(len(args[0])))
        batch, fresh = MODELS.pairs(), len(set(MODELS.pairs().captions))
        for step in range(6):
            method(batch, step)
            method.after_step(step)
        assert counts == [fresh] * 3  # at steps 1, 2 and 4; none at step 0, and the teacher moved after 1, 3 and 5

    def test_after_an_update_its_features_are_new(self, method):
        batch = MODELS.pairs()
        texts, _ = distinct(batch.captions)
        before = method.teacher_features(batch.images, texts, 1)
        method.after_step(1)
        found = method.teacher_features(batch.images, texts, 2)
        assert not torch.allclose(found["teacher_texts"], before["teacher_texts"])
        expected = PairEncoder().texts(method.teacher.model, texts, "cpu")
        torch.testing.assert_close(found["teacher_texts"], expected, rtol=1e-12, atol=1e-12)

    def test_its_features_carry_no_gradient_and_do_not_hinder_that_of_the_student(self, method):
        batch = MODELS.pairs()
        features = method.teacher_features(batch.images, batch.captions[:2], 1)
        assert not any(value.requires_grad for value in features.values())
        for _ in range(2):  # the second time they are remembered
            method.zero_grad()
            method(batch, 1)["distillation"].backward()
            assert method.model.encoder.clip.visual.proj.grad.abs().max() > 1e-4

    def test_the_first_step_has_none(self, method):
        assert method.teacher_features(MODELS.pairs().images, CAPTIONS, 0) == {}
        assert MODELS.build("flyp", {}).teacher_features(MODELS.pairs().images, CAPTIONS, 1) == {}


@pytest.mark.parametrize("training", [{}, {"accumulation_steps": 2}], ids=["whole", "parts"])
def test_a_resumed_run_remembers_nothing_and_computes_the_same(train, tmp_path, training):
    """12 steps of 8 pairs, resume points after 5 and 10; the teacher never moves, so only those make it forget."""
    tables = {"training": {"epochs": 1, "batch_size": 8, "save_every": 5, **training}, "method": {"teacher_every": 0}}

    def stop(what, done, total):
        if what.startswith("training") and done == 10:  # told before the resume point is written
            raise InterruptedError

    whole, _ = train("carot", tmp_path / "whole", **tables)
    with pytest.raises(InterruptedError):
        train("carot", tmp_path / "stopped", progress=stop, **tables)
    again, events = train("carot", tmp_path / "stopped", **tables)
    assert [event["step"] for event in events if event["event"] == "resume"] == [5]
    assert (again.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
