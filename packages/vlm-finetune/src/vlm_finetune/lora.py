"""Low-rank adapters in place of what a method would train."""

from vlm_data.errors import CallError
from vlm_finetune.method import Method
from vlm_finetune.recipe import LoraSettings
from vlm_models.adapters import adapter_targets, add_adapters
from vlm_models.interface import freeze


def adapt(method: Method, settings: LoraSettings, seed: int) -> None:
    """Put adapters where a method has released the encoder, and let nothing else of the encoder be trained.

    What stays trained beside the adapters are the parts of the encoder that the method names in `beside_adapters`, and
    whatever it released outside the encoder, such as a head.

    Args:
        method: after it has released what it trains; no optimiser may know its parameters yet.
        settings: rank and scale.
        seed: of the start of the adapters.

    Raises:
        CapabilityError: if the model can take no adapters.
        CallError: if a tower that the method trains has no place for them, or the rank does not fit.
        VlmModelsError: if the package peft is missing.
    """
    encoder = method.model.encoder
    released = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    group = {name: encoder.parameter_group(name) for name in released}
    kept = [parameter for name, parameter in released.items() if group[name] in method.beside_adapters]
    replaced = {name for name in released if group[name] not in method.beside_adapters}
    inside = {
        target: [f"{target}.{name}" for name, _ in encoder.get_submodule(target).named_parameters()]
        for target in adapter_targets(encoder)
    }
    targets = [target for target, names in inside.items() if replaced.issuperset(names)]
    reached = {group[name] for target in targets for name in inside[target]}
    for part in ("vision", "text", "fusion"):
        if part not in reached and any(group[name] == part for name in replaced):
            raise CallError(
                f"{encoder.spec} has no place for adapters in its {part} tower, which {type(method).__name__} trains. "
                "Expected attention or an MLP there; take another --model, or leave out --lora-rank."
            )
    if not targets:
        raise CallError(
            f"{type(method).__name__} trains no part of {encoder.spec} that adapters could stand in for. "
            "Expected a tower; leave out --lora-rank."
        )
    freeze(encoder.parameters())
    method.adapted = tuple(add_adapters(encoder, settings.rank, settings.alpha, settings.dropout, seed, targets))
    for parameter in kept:
        parameter.requires_grad_(True)
