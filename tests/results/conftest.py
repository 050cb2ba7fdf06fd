from made_up_study import results, seeded

__all__ = ["results", "seeded"]
