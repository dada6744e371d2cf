"""`vlm models`: which families there are, what one model is, and writing it in our format or for other programs."""

import dataclasses
from pathlib import Path
from typing import Any

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console

EPILOG = options.examples(
    "vlm models ls --family openclip",
    "vlm models show tiny",
)
LS_EPILOG = options.examples(
    "vlm models ls",
    "vlm models ls --family openclip --json",
)
SHOW_EPILOG = options.examples(
    "vlm models show tiny",
    "vlm models show run:runs/digits-tiny-full-seed0",
    "vlm models show openclip:ViT-B-32/laion2b_s34b_b79k --json",
)
EXPORT_EPILOG = options.examples(
    "vlm models export tiny exported/tiny",
    "vlm models export run:runs/digits-tiny-full-seed0 exported/digits --layout open-clip --json",
)
CONVERT_EPILOG = options.examples(
    "vlm models convert ViT-B-32.pt converted/clip",
    "vlm models convert clip:ViT-B-32.pt,image_size=448 converted/clip-448 --json",
)


@click.group(cls=rich_click.RichGroup, epilog=EPILOG)
def command() -> None:
    """List, show, convert and export models."""


@command.command(cls=rich_click.RichCommand, epilog=LS_EPILOG)
@click.option("--family", help="List the architectures and tags of this family.")
@options.output_options
def ls(family: str | None, as_json: bool, verbose: bool, debug: bool) -> None:
    """List the families of models and how to write them; with --family, what one of them offers."""
    console = Console(as_json, verbose)
    console.say("vlm models: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_models.catalog import REGISTRY, family_info

    if family:
        _list_variants(family, console)
        return
    infos = {name: family_info(name) for name in REGISTRY.names()}
    listed = [{"family": name, **dataclasses.asdict(info)} for name, info in infos.items()]
    console.document({"families": listed})
    rows = [
        (info.spec, info.summary, ", ".join(info.capabilities) or "what its base model can") for info in infos.values()
    ]
    console.listing(("--model", "is", "can do"), rows)
    console.text(
        "`vlm models ls --family openclip` lists its architectures and tags. `vlm models show SPEC` tells what"
    )
    console.text("one model can do. Preprocessing follows a comma: SPEC,mean=0.5/0.5/0.5,std=...,resize=squash.")


def _list_variants(family: str, console: Console) -> None:
    from vlm_models.catalog import family_info
    from vlm_models.spec import PREPROCESSING_OPTIONS
    from vlm_models.variants import family_variants

    info, variants = family_info(family), family_variants(family)
    listed = [{"architecture": v.architecture, "tags": list(v.tags), "cached": list(v.cached)} for v in variants]
    console.document({"family": family, "spec": info.spec, "summary": info.summary, "variants": listed})
    options = ", ".join(f"{name}=" for name in (*info.options, *PREPROCESSING_OPTIONS))
    if not variants:
        console.text(f"{info.spec}: {info.summary}\nOptions after a comma: {options}")
        return
    rows = [
        (found.architecture, ", ".join(tag + " *" * (tag in found.cached) for tag in found.tags)) for found in variants
    ]
    console.listing(("architecture", "tags"), rows)
    console.text(f"Write {info.spec}; without a tag the weights are random. * on this machine, others are downloaded.")
    console.text(f"Options after a comma: {options}")


@command.command(cls=rich_click.RichCommand, epilog=SHOW_EPILOG)
@click.argument("spec")
@options.output_options
def show(spec: str, as_json: bool, verbose: bool, debug: bool) -> None:
    """Show architecture, size, preprocessing, temperature and hash of a model, and what a saved one was made for."""
    console = Console(as_json, verbose)
    console.say("vlm models: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_models.description import describe

    facts = describe(spec)
    console.document(facts)
    console.listing(("", ""), [(name.replace("_", " "), _words(value)) for name, value in _lines(facts)])


def _lines(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """Flatten one level: `parameters image`, `preprocessing size`; what is deeper stays one line."""
    lines: list[tuple[str, Any]] = []
    for name, value in facts.items():
        nested = isinstance(value, dict) and name != "architecture"
        lines += [(f"{name} {key}", inner) for key, inner in value.items()] if nested else [(name, value)]
    return lines


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value) or "unknown"


@command.command(cls=rich_click.RichCommand, epilog=EXPORT_EPILOG)
@click.argument("spec")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(["huggingface", "open-clip"]),
    default="huggingface",
    show_default=True,
    help="For whom: transformers (`from_pretrained`), or open_clip (`local-dir:`).",
)
@options.overwrite_option
@options.output_options
def export(spec: str, directory: Path, layout: str, overwrite: bool, as_json: bool, verbose: bool, debug: bool) -> None:
    """Write a model for transformers or open_clip, which then give the same features: weights, tokenizer, images."""
    console = Console(as_json, verbose)
    console.say("vlm models: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_models import load_model
    from vlm_models.classifier import Classifier
    from vlm_models.export import LAYOUTS

    model = load_model(spec)
    is_classifier = isinstance(model, Classifier)
    if is_classifier:
        console.say(f"the head for {len(model.class_names)} classes stays behind: both libraries read towers only")
    place = LAYOUTS[layout](model.encoder if is_classifier else model, directory, overwrite=overwrite)
    files = {path.name: path.stat().st_size for path in sorted(place.iterdir())}
    console.document({"spec": spec, "layout": layout, "directory": str(place), "files": files})
    console.listing(("file", "bytes"), [(name, f"{size:,}") for name, size in files.items()])
    console.text(f"written to {place}; features were compared with those of {spec}.")


@command.command(cls=rich_click.RichCommand, epilog=CONVERT_EPILOG)
@click.argument("source", metavar="FILE")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace what was converted into DIR before.")
@options.output_options
def convert(source: str, directory: Path, overwrite: bool, as_json: bool, verbose: bool, debug: bool) -> None:
    """Write foreign weights as safetensors and JSON, once; nothing in FILE is run.

    FILE is a weight file (its family is told by its tensors) or a model spec. file:DIR loads what was written.
    """
    console = Console(as_json, verbose)
    console.say("vlm models: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_models.checkpoint import read_manifest
    from vlm_models.conversion import convert as convert_weights

    folder = convert_weights(source, directory, overwrite=overwrite)
    manifest = read_manifest(folder)
    console.document({"directory": str(folder), "spec": f"file:{folder}", **manifest})
    rows = [*manifest["converted"].items(), *manifest["architecture"].items()]
    console.listing(("", ""), [(name.replace("_", " "), _words(value)) for name, value in rows])
    console.text(f"use it with: --model file:{folder}")
