"""Small random ALBEF and BLIP files: names and shapes are written here, not taken from our maps."""

import torch

from vlm_models.fusion.architecture import FusionSizes

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "aeiou")]
"""A vocabulary for the small models; its special tokens have other ids than BERT's."""
SIZES = FusionSizes(
    image_size=16,
    patch_size=4,
    vision_width=24,
    vision_layers=2,
    vision_heads=3,
    vision_mlp_width=32,
    text_width=16,
    text_layers=2,
    fusion_layers=2,
    text_heads=4,
    text_mlp_width=20,
    vocabulary_size=len(WORDS),
    positions=12,
    embedding_dim=8,
    text_length=9,
)


def linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vision_shapes(prefix, width, layers, hidden, patch, positions):
    shapes = {
        f"{prefix}cls_token": (1, 1, width),
        f"{prefix}pos_embed": (1, positions, width),
        f"{prefix}patch_embed.proj.weight": (width, 3, patch, patch),
        f"{prefix}patch_embed.proj.bias": (width,),
        **norm(f"{prefix}norm", width),
    }
    for block in (f"{prefix}blocks.{layer}." for layer in range(layers)):
        shapes |= norm(f"{block}norm1", width) | norm(f"{block}norm2", width)
        shapes |= linear(f"{block}attn.qkv", 3 * width, width) | linear(f"{block}attn.proj", width, width)
        shapes |= linear(f"{block}mlp.fc1", hidden, width) | linear(f"{block}mlp.fc2", width, hidden)
    return shapes


def attention_shapes(prefix, width, seen_width):
    return {
        **linear(f"{prefix}self.query", width, width),
        **linear(f"{prefix}self.key", width, seen_width),
        **linear(f"{prefix}self.value", width, seen_width),
        **linear(f"{prefix}output.dense", width, width),
        **norm(f"{prefix}output.LayerNorm", width),
    }


def bert_shapes(prefix, rows, positions, width, hidden, layers, seen_width, first_seeing, token_types):
    shapes = {
        f"{prefix}embeddings.word_embeddings.weight": (rows, width),
        f"{prefix}embeddings.position_embeddings.weight": (positions, width),
        **norm(f"{prefix}embeddings.LayerNorm", width),
    }
    if token_types:
        shapes[f"{prefix}embeddings.token_type_embeddings.weight"] = (2, width)
    for number in range(layers):
        layer = f"{prefix}encoder.layer.{number}."
        shapes |= attention_shapes(f"{layer}attention.", width, width)
        if number >= first_seeing:
            shapes |= attention_shapes(f"{layer}crossattention.", width, seen_width)
        shapes |= linear(f"{layer}intermediate.dense", hidden, width) | linear(f"{layer}output.dense", width, hidden)
        shapes |= norm(f"{layer}output.LayerNorm", width)
    return shapes


def language_shapes(prefix, rows, width):
    return {
        f"{prefix}predictions.bias": (rows,),
        **linear(f"{prefix}predictions.decoder", rows, width),
        **linear(f"{prefix}predictions.transform.dense", width, width),
        **norm(f"{prefix}predictions.transform.LayerNorm", width),
    }


def draw(shapes, seed):
    if seed is None:
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
        state[name] = around + 0.3 * torch.randn(shape, generator=generator)
    return state


def fusion_state(family, seed=1, sizes=SIZES, bert="bert."):
    """Return the tensors of a small random file of ALBEF's or BLIP's authors.

    With `bert` it is a pretraining file, with a language head; without, a fine-tuned one. Without `seed` tensors have
    shapes and no values.
    """
    albef = family == "albef"
    rows = sizes.vocabulary_size + (0 if albef else 2)
    text = f"text_encoder.{bert if albef else ''}"
    layers = sizes.text_layers + sizes.fusion_layers
    vision = (sizes.vision_width, sizes.vision_layers, sizes.vision_mlp_width, sizes.patch_size)
    bert_sizes = (rows, sizes.positions, sizes.text_width, sizes.text_mlp_width, layers, sizes.vision_width)
    first = sizes.text_layers if albef else 0
    main = {
        **vision_shapes("visual_encoder.", *vision, 1 + (sizes.image_size // sizes.patch_size) ** 2),
        **bert_shapes(text, *bert_sizes, first, albef),
        **linear("vision_proj", sizes.embedding_dim, sizes.vision_width),
        **linear("text_proj", sizes.embedding_dim, sizes.text_width),
    }
    queues = dict.fromkeys(("image_queue", "text_queue"), (sizes.embedding_dim, 6))
    language = language_shapes("text_encoder.cls." if albef else "text_decoder.cls.", rows, sizes.text_width)
    language = language if bert else {}
    decoder = {} if albef or not bert else bert_shapes("text_decoder.bert.", *bert_sizes, 0, False)
    copied = main | (language if albef else {})  # copies have other values: using one must be visible
    copies = {name.replace(".", "_m.", 1): shape for name, shape in copied.items()}
    heads = linear("itm_head", 2, sizes.text_width)
    state = draw(main | copies | queues | heads | language | decoder, seed)
    for name in decoder:
        if ".attention." not in name:  # the decoder of BLIP has only its self-attention for itself
            state[name] = state[name.replace("text_decoder.bert.", text)]
    for name in language:
        if ".decoder." in name:
            words = name.replace("cls.predictions.decoder", "bert.embeddings.word_embeddings")
            state[name] = state[words] if name.endswith("weight") else state[name.replace("decoder.bias", "bias")]
    indices = dict.fromkeys([f"{text}embeddings", f"{text.replace('.', '_m.', 1)}embeddings"])
    indices |= {"text_decoder.bert.embeddings": None} if decoder else {}
    places = {f"{name}.position_ids": torch.arange(sizes.positions).expand(1, -1) for name in indices}
    pointer = {"queue_ptr" if bert else "ptr_queue": torch.zeros(1, dtype=torch.int64)}
    return state | pointer | places | {"temp": torch.tensor(0.06)}


def write_fusion(family, folder, state=None, words=WORDS):
    """Write such a file with its vocabulary into a folder, and return its model spec."""
    torch.save({"model": fusion_state(family) if state is None else state, "epoch": 4}, folder / "weights.pth")
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    heads = f"vision_heads={SIZES.vision_heads},text_heads={SIZES.text_heads}"
    return f"{family}:{folder}/weights.pth,{heads}"
