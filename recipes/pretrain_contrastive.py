"""
Pre-trains an encoder on plain text with a contrastive loss: neighbouring sentences get similar vectors.

    python recipes/pretrain_contrastive.py --text README.md --model_name_or_path minilm --output_dir runs/pretrained

The folder then holds an encoder: use it as `--model_name_or_path` of a training recipe.
"""

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    with recipe_console():
        from extrabert_hf.training.contrastive import ContrastiveArguments, pretrain
        from extrabert_hf.training.recipe_parser import RecipeParser
        from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

        parser = RecipeParser(
            [ContrastiveArguments, ExtraBertTrainingArguments], description=__doc__, loads_models=True
        )
        parser.set_defaults(output_dir="runs/pretrained", eval_strategy="no", load_best_model_at_end=False)
        parser.set_defaults(per_device_train_batch_size=64, num_train_epochs=1)
        arguments, training, _ = parser.parse_args_into_dataclasses()
        print(f"the encoder is in {pretrain(arguments, training)}")
