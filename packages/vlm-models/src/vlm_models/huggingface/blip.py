"""BLIP for retrieval in the layout of Hugging Face: the same modules, other files."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BlipConfig

from vlm_models.checkpoint import load_state
from vlm_models.errors import CheckpointError, reason
from vlm_models.fusion.architecture import FusionSizes
from vlm_models.fusion.encoder import VOCABULARY_FILE, FusionEncoder
from vlm_models.fusion.files import fusion_architecture, fusion_tokenizer
from vlm_models.fusion.sizes import TEMPERATURE_RANGE, text_length
from vlm_models.fusion.tokens import BertTokens, check_vocabulary, read_vocabulary
from vlm_models.fusion.weights import RESIZE_RULE, resized_positions
from vlm_models.hub import quiet_transformers
from vlm_models.huggingface.images import read_preprocess
from vlm_models.spec import check_patches
from vlm_models.weight_files import read_weight_file

CLASS = "BlipForImageTextRetrieval"
_POSITIONS = "vision_model.embeddings.position_embedding"
_TOKENIZER_FILE = "tokenizer.json"
_PROBE = "A café, two naïve co-workers' 3 CUPS!"
"""A text that rules for other languages, capitals or accents cut into other pieces."""


def load_blip_retrieval(folder: str | Path, config: Mapping[str, Any], image_size: int | None = None) -> FusionEncoder:
    """Load a folder that `BlipForImageTextRetrieval.save_pretrained` or `export_blip` wrote.

    Transformers has no place for the learned temperature; it is taken from `logit_scale_init_value`, in folders of
    others the one that training began with. Attention heads and LayerNorms are as `config.json` says. Matching puts
    `[ENC]` first, as BLIP was trained, although transformers itself leaves `[CLS]`.

    Args:
        folder: with config.json, weights, tokenizer and preprocessor_config.json.
        config: what config.json holds.
        image_size: side in pixels, if another than that of config.json; the position table is resized.

    Raises:
        CallError: if the image size is impossible.
        CheckpointError: if it is another class of BLIP, or files are missing, damaged or do not belong together.
    """
    place, spec = Path(folder), f"hf:{folder}"
    described = _configuration(config, spec)
    learned = described.vision_config.image_size
    sizes = _sizes(described, image_size or learned, spec)
    tokenizer = _tokenizer(place, sizes, spec)
    preprocess = read_preprocess(place, sizes.image_size, spec, chosen=sizes.image_size != learned)
    architecture = fusion_architecture("blip", tokenizer)
    if sizes.image_size != learned:
        architecture["resize"] = {"from": learned, "to": sizes.image_size, "rule": RESIZE_RULE}
    encoder = FusionEncoder(sizes, tokenizer, spec=spec, architecture=architecture)
    encoder.preprocess = preprocess
    tensors = {name: tensor.float() for name, tensor in read_weight_file(place).tensors.items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(".position_ids")}
    if _POSITIONS in tensors:
        tensors[_POSITIONS] = resized_positions(tensors[_POSITIONS], sizes.grid[0])
    temperature = torch.tensor(math.exp(-described.logit_scale_init_value))
    load_state(encoder, {"temp": temperature} | tensors, spec)
    return encoder


def _configuration(values: Mapping[str, Any], spec: str) -> Any:
    """Return the configuration with the defaults of transformers; its parts are typed as dictionaries there."""
    classes = values.get("architectures") or [CLASS]
    if CLASS not in classes:
        raise CheckpointError(
            f"{spec} is a {', '.join(map(str, classes))}, which cannot compare images with texts. "
            f"Expected a {CLASS}; take one for retrieval, such as Salesforce/blip-itm-base-coco."
        )
    try:
        with quiet_transformers():
            found: Any = BlipConfig.from_dict(copy.deepcopy(dict(values)))
    except Exception as error:  # checks of types and of divisibility raise nearly anything
        raise CheckpointError(
            f"config.json of {spec} describes no model that can be built: {reason(error)}. "
            "Expected the file that was published with the weights; download it again."
        ) from error
    for tower in (found.vision_config, found.text_config):
        heads, width = tower.num_attention_heads, tower.hidden_size
        if tower.hidden_act != "gelu" or heads < 1 or width % heads:
            raise CheckpointError(
                f"config.json of {spec} has {heads} attention heads of {width} channels and the activation "
                f"{tower.hidden_act!r}. Expected a divisor and 'gelu', as in every BLIP; correct the file."
            )
    if not isinstance(found.vision_config.image_size, int) or not isinstance(found.vision_config.patch_size, int):
        raise CheckpointError(
            f"config.json of {spec} tells of images or patches that are not square. Correct the file."
        )
    return found


def _sizes(described: Any, image_size: int, spec: str) -> FusionSizes:
    vision, text = described.vision_config, described.text_config
    check_patches(image_size, vision.patch_size, spec)
    return FusionSizes(
        image_size=image_size,
        patch_size=vision.patch_size,
        vision_width=vision.hidden_size,
        vision_layers=vision.num_hidden_layers,
        vision_heads=vision.num_attention_heads,
        vision_mlp_width=vision.intermediate_size,
        text_width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        fusion_layers=0,
        text_heads=text.num_attention_heads,
        text_mlp_width=text.intermediate_size,
        vocabulary_size=text.vocab_size,
        positions=text.max_position_embeddings,
        embedding_dim=described.image_text_hidden_size,
        text_length=text_length({}, "blip", text.max_position_embeddings),
        vision_eps=vision.layer_norm_eps,
        text_eps=text.layer_norm_eps,
        temperature_range=TEMPERATURE_RANGE["blip"],
    )


def _tokenizer(folder: Path, sizes: FusionSizes, spec: str) -> BertTokens:
    """Return the tokenizer of a folder, from `tokenizer.json` or `vocab.txt`."""
    whole, plain = folder / _TOKENIZER_FILE, folder / VOCABULARY_FILE
    if not whole.is_file():
        if not plain.is_file():
            raise CheckpointError(
                f"{spec} has no tokenizer. Expected {_TOKENIZER_FILE} or {VOCABULARY_FILE} beside the weights; "
                "download it from where the weights are from."
            )
        return fusion_tokenizer("blip", sizes, read_vocabulary(plain), spec)
    try:
        found = Tokenizer.from_file(str(whole))
    except Exception as error:  # the tokenizers library raises a bare Exception
        raise CheckpointError(
            f"cannot read {whole}: {reason(error)}. Expected the file that was published with the weights."
        ) from error
    ids = found.get_vocab()
    words = check_vocabulary(tuple(sorted(ids, key=lambda word: ids[word])), whole)
    found.no_padding()
    found.no_truncation()
    probe = BertTokens(words, closing=True, length=64)
    if found.encode(_PROBE).ids != [index for index in probe([_PROBE])[0].tolist() if index != probe.padding_id]:
        raise CheckpointError(
            f"{whole} does not cut text as the uncased BERT does, which BLIP was trained with. "
            "Expected its tokenizer; take the one that was published with the weights."
        )
    return fusion_tokenizer("blip", sizes, words, spec)
