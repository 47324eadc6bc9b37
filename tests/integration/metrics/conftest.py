from tests.classroom import calculator, expect

__all__ = ["calculator", "expect"]
