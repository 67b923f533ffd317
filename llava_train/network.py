"""The captioner as training sees it: conversations in, the summed loss of their supervised tokens out."""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from imagetext.conversations import IGNORED_LABEL
from llava_train.head import AnswerHead, AnswerSums
from llava_train.parts import language_config, num_class_tokens, vision_config, vision_modules
from llava_train.pixels import Normaliser
from llava_train.varlen import VARLEN, kernel_arguments, kernel_serves
from runtime import launch


class SupervisedCaptioner(nn.Module):
    """Wrap a `LlavaForConditionalGeneration` so that one forward call does what training needs.

    Every call runs the same modules on all ranks, whatever samples a rank has: engines that exchange weights or
    gradients around each module wait for each other for ever otherwise.
    """

    def __init__(self, llava: LlavaForConditionalGeneration, normaliser: Normaliser):
        super().__init__()
        llava.set_output_embeddings(AnswerHead.around(llava.get_output_embeddings()))
        self.llava = llava
        self.normaliser = normaliser

    def forward(
        self,
        input_ids: Int[Tensor, "batch tokens"],
        labels: Int[Tensor, "batch tokens"],
        images: UInt8[Tensor, "images channel height width"] | None,
        position_ids: Int[Tensor, "batch tokens"] | None = None,
        sequence_starts: Int32[Tensor, " boundaries"] | None = None,
        longest_sequence_tokens: int | None = None,
    ) -> AnswerSums:
        """Return what the supervised tokens of a `ConversationBatch` sum to.

        Rows are padded on the right; under a causal mask no supervised token sees a pad. Samples that share a row see
        only themselves.
        """
        if len(input_ids) == 0:
            input_ids, labels, position_ids = *self._one_token(input_ids), None
        # In this order on every rank: ZeRO-3 compares the modules that ranks run one by one.
        pixel_values = self._blank() if images is None else self.normaliser(images)
        embeddings = embed(self.llava, input_ids, None if images is None else pixel_values)
        if images is None:
            embeddings = embeddings + self._no_image(pixel_values)
        rows = self._row_arguments(embeddings, position_ids, sequence_starts, longest_sequence_tokens)
        hidden = self.llava.model.language_model(
            inputs_embeds=embeddings, use_cache=False, **rows
        ).last_hidden_state  # fmt: skip
        next_labels = labels[:, 1:]
        supervised = next_labels != IGNORED_LABEL
        return cast(AnswerSums, self.llava.lm_head(hidden[:, :-1][supervised], next_labels[supervised]))

    def _one_token(self, input_ids: Int[Tensor, "0 tokens"]) -> tuple[Int[Tensor, "1 1"], Int[Tensor, "1 1"]]:
        """Return a text of one token that nobody asks about, in place of a batch whose samples were all skipped."""
        token = input_ids.new_full((1, 1), int(self.llava.config.image_token_id == 0))
        return token, torch.full_like(token, IGNORED_LABEL)

    def _no_image(self, blank: Float[Tensor, "1 channel height width"] | None) -> Float[Tensor, ""]:
        """Return zero, with a gradient of zero for whatever reads images.

        So an update without any image moves those weights alike whether one process takes it or several: Adam does not
        treat a gradient of zero as none at all. Several processes run the modules on a blank image.
        """
        if blank is None:
            embeddings, first_norm, layers = vision_modules(self.llava)
            readers = [self.llava.model.multi_modal_projector, embeddings, first_norm, *layers]
            weights = [weight for module in readers for weight in module.parameters() if weight.requires_grad]
            return _zero(*weights, like=self.llava.lm_head.weight)
        features = image_features(self.llava, blank)
        return _zero(features, like=features)

    def _blank(self) -> Float[Tensor, "1 channel height width"] | None:
        """Return a blank image where several processes train together."""
        if launch.world_size() == 1:
            return None
        side = cast(int, vision_config(self.llava).image_size)
        return self.normaliser(torch.zeros(1, 3, side, side, dtype=torch.uint8, device=self.normaliser.mean.device))

    def _row_arguments(
        self,
        embeddings: Float[Tensor, "batch tokens features"],
        position_ids: Int[Tensor, "batch tokens"] | None,
        sequence_starts: Int32[Tensor, " boundaries"] | None,
        longest_sequence_tokens: int | None,
    ) -> Mapping[str, object]:
        """Return what tells the language model which tokens of a row belong together."""
        if position_ids is None or sequence_starts is None or longest_sequence_tokens is None:
            return {}
        config = language_config(self.llava)
        if config._attn_implementation == VARLEN and kernel_serves(config, embeddings):
            return {"position_ids": position_ids, **kernel_arguments(sequence_starts, longest_sequence_tokens)}
        # transformers takes positions that start again for another sample, and masks all others.
        return {"position_ids": position_ids}


def _zero(*tensors: Tensor, like: Tensor) -> Float[Tensor, ""]:
    """Return a zero that depends on some tensors, whatever is in them."""
    return torch.stack([like.new_zeros(()), *(tensor.flatten()[:0].sum() for tensor in tensors)]).sum()


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
