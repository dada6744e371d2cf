"""BLIP as objects of transformers, which `save_pretrained` writes a folder in Hugging Face layout from."""

import math
from typing import Any

from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval, BlipImageProcessor, CLIPImageProcessor

from vlm_data.preprocess import Preprocess
from vlm_models.capabilities import CapabilityError
from vlm_models.checkpoint import load_state
from vlm_models.fusion.architecture import text_config, undefined_weights, vision_config
from vlm_models.fusion.encoder import FusionEncoder
from vlm_models.fusion.tokens import DECODING, MATCHING, SEPARATOR
from vlm_models.huggingface.blip import CLASS
from vlm_models.huggingface.images import INTERPOLATIONS


def huggingface_blip(
    encoder: FusionEncoder,
) -> tuple[BlipForImageTextRetrieval, BertTokenizer, BlipImageProcessor | CLIPImageProcessor]:
    """Return model, tokenizer and image processor of transformers that compute what a BLIP does.

    The model has copies of the weights. Its configuration keeps the temperature as `logit_scale_init_value`, since the
    class has no parameter for it.

    Raises:
        CapabilityError: for an ALBEF, of which transformers has no class.
    """
    sizes, tokens = encoder.sizes, encoder.tokenizer
    if sizes.fusion_layers:
        raise CapabilityError(
            f"{encoder.spec} is an ALBEF, of which transformers has no class; expected a BLIP. "
            "Keep it as it was saved, in model.safetensors and model.json."
        )
    text = text_config(sizes, sizes.text_layers, True)
    text.bos_token_id, text.sep_token_id = tokens.id_of(DECODING), tokens.id_of(SEPARATOR)
    config = BlipConfig(
        text_config=text.to_dict(),
        vision_config=vision_config(sizes).to_dict(),
        image_text_hidden_size=sizes.embedding_dim,
        logit_scale_init_value=math.log(encoder.logit_scale.item()),
        architectures=[CLASS],
    )
    with undefined_weights():
        model = BlipForImageTextRetrieval(config)
    load_state(model, {name: tensor for name, tensor in encoder.state_dict().items() if name != "temp"}, encoder.spec)
    vocabulary = {word: index for index, word in enumerate(tokens.vocabulary)}
    tokenizer = BertTokenizer(vocabulary, model_max_length=sizes.text_length)
    tokenizer.add_special_tokens({"additional_special_tokens": [DECODING, MATCHING]})
    return model.eval(), tokenizer, _image_processor(encoder.preprocess)


def _image_processor(preprocess: Preprocess) -> BlipImageProcessor | CLIPImageProcessor:
    filters = {name: number for number, name in INTERPOLATIONS.items()}
    square = {"height": preprocess.size, "width": preprocess.size}
    told: dict[str, Any] = {
        "resample": filters[preprocess.interpolation],
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
    if preprocess.resize == "squash":
        return BlipImageProcessor(size=square, **told)
    return CLIPImageProcessor(size={"shortest_edge": preprocess.shorter_side}, crop_size=square, **told)
