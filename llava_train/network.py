"""The captioner as training sees it: conversations in, logits of the supervised tokens out."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from imagetext.conversations import IGNORED_LABEL
from llava_train.parts import language_config, num_class_tokens, vision_modules
from llava_train.pixels import Normaliser


class SupervisedCaptioner(nn.Module):
    """Wrap a `LlavaForConditionalGeneration` so that one forward call does what training needs."""

    def __init__(self, llava: LlavaForConditionalGeneration, normaliser: Normaliser):
        super().__init__()
        self.llava = llava
        self.normaliser = normaliser

    def forward(
        self,
        input_ids: Int[Tensor, "batch tokens"],
        labels: Int[Tensor, "batch tokens"],
        images: UInt8[Tensor, "images channel height width"] | None,
    ) -> Float[Tensor, "supervised vocabulary"]:
        """Return the logits that predict every supervised label, in reading order.

        Sequences are padded on the right; under a causal mask no supervised token sees a pad.
        """
        if len(input_ids) == 0:
            return self._no_logits()
        embeddings = embed(self.llava, input_ids, None if images is None else self.normaliser(images))
        hidden = self.llava.model.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return self.llava.lm_head(hidden[:, :-1][labels[:, 1:] != IGNORED_LABEL])

    def _no_logits(self) -> Float[Tensor, "none vocabulary"]:
        """Return the logits of a batch whose samples were all skipped; every parameter keeps its place in the graph."""
        anchor = torch.stack([parameter.sum() for parameter in self.parameters() if parameter.requires_grad]).sum()
        return anchor * anchor.new_zeros(0, language_config(self.llava).vocab_size)


def embed(
    llava: LlavaForConditionalGeneration,
    input_ids: Int[Tensor, "batch tokens"],
    pixel_values: Float[Tensor, "images channel height width"] | None,
) -> Float[Tensor, "batch tokens features"]:
    """Return token embeddings with the projected image features in the places of the image tokens, in order.

    Under autocast the result is in the autocast type: the residual stream then stays in it and spares a conversion in
    front of every matrix product, on CPU 15 % of a step.
    """
    embeddings = llava.get_input_embeddings()(input_ids)
    device_type = input_ids.device.type
    if torch.is_autocast_enabled(device_type):
        embeddings = embeddings.to(torch.get_autocast_dtype(device_type))
    if pixel_values is None:
        return embeddings
    features = image_features(llava, pixel_values).to(embeddings.dtype)
    places = (input_ids == llava.config.image_token_id).unsqueeze(-1)
    return embeddings.masked_scatter(places, features)


def image_features(
    llava: LlavaForConditionalGeneration, pixel_values: Float[Tensor, "images channel height width"]
) -> Float[Tensor, "images patches features"]:
    """Return projected patch features of the chosen vision layer, without running the layers above it."""
    embeddings, first_norm, layers = vision_modules(llava)
    hidden = first_norm(embeddings(pixel_values))
    for layer in layers:
        hidden = layer(hidden, None)
    return llava.model.multi_modal_projector(hidden[:, num_class_tokens(llava) :])
