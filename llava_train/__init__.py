"""Fine-tune a LLaVA captioner: conversations and a CLIP in, a `LlavaForConditionalGeneration` directory out."""
