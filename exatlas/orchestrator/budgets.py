class Budgets:
    pass
