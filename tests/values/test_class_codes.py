"""What the code of a class is, as far as it is told from elsewhere."""

from __future__ import annotations

from rayflow.values.class_codes import code_of, remember_code


def test_what_another_process_has_told_of_a_class_is_known_as_long_as_the_class_is():
    class Told:
        pass

    remember_code(Told, b"as told")
    others = [type("Other", (), {}) for _ in range(10_001)]
    for other in others:
        remember_code(other, b"other")
    assert code_of(Told) == b"as told"
