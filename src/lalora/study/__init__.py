"""Studies: a recipe becomes runs, runs become results."""

from lalora.study.recipe import Recipe, built_in_recipes, load_recipe
from lalora.study.run_study import run_study

__all__ = ["Recipe", "built_in_recipes", "load_recipe", "run_study"]
