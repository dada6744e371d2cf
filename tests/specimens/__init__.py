"""One small random model of every family, written by the tests in the format its authors publish."""

from pathlib import Path

FAMILIES = ("tiny", "openclip", "clip", "hf", "albef", "blip", "file")
"""Every family with a specimen; `run` is made by fine-tuning."""
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    "a",
    "photo",
    "of",
    "the",
    "digit",
]


def write_specimen(family: str, folder: Path) -> str:
    """Write the specimen of a family into an empty folder and return its model spec."""
    if family == "tiny":
        return "tiny"
    if family == "openclip":
        return f"openclip:ViT-S-32-alt/{_open_clip_file(folder)},image_size=64"
    if family == "clip":
        from specimens.clip import write_clip

        return write_clip(folder)
    if family == "hf":
        from specimens.huggingface import write_folder

        write_folder(folder, "siglip")
        return f"hf:{folder}"
    if family in ("albef", "blip"):
        from specimens.fusion import write_fusion

        return write_fusion(family, folder)
    from vlm_models import load_encoder, save_model

    return f"file:{save_model(load_encoder('tiny'), folder)}"


def _open_clip_file(folder: Path) -> Path:
    import open_clip
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(4)
        torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), folder / "weights.pt")
    return folder / "weights.pt"
