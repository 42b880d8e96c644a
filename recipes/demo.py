"""
Serves a web page that shows the predictions of models for typed sentences side by side, with token weights.

    python recipes/demo.py runs/sst runs/para runs/sts
    python recipes/demo.py runs/multitask attention=runs/sts mean=runs/sts_mean --port 8000
"""

from extrabert_hf.console import recipe_console

if __name__ == "__main__":
    with recipe_console():
        from extrabert_hf.inference.demo import serve_demo
        from extrabert_hf.training.recipe_parser import RecipeParser

        parser = RecipeParser([], description=__doc__, loads_models=True)
        parser.add_argument("models", nargs="+", metavar="MODEL", help="folder or Hub id of a model, or NAME=MODEL")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=7860, help="0 selects a free port")
        arguments = parser.parse_args()
        serve_demo(arguments.models, arguments.host, arguments.port)
