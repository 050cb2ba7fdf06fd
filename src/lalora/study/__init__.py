"""Studies: a recipe becomes runs, runs become results."""

from lalora.study.conduct import run_study
from lalora.study.recipe import Recipe, built_in_recipes, load_recipe
from lalora.study.schema import recipe_schema

__all__ = ["Recipe", "built_in_recipes", "load_recipe", "recipe_schema", "run_study"]
