"""Studies: a recipe becomes runs, runs become results."""

from lalora.extras import named_if_missing

with named_if_missing():
    from lalora.study.recipe.json_schema import recipe_schema
    from lalora.study.recipe.recipe import Recipe, built_in_recipes, load_recipe
    from lalora.study.runners.run_study import run_study

__all__ = ["Recipe", "built_in_recipes", "load_recipe", "recipe_schema", "run_study"]
