from redun import catch, task, throw
from redun.scheduler import catch_all

redun_namespace = "failures"


class Empty(ValueError):
    pass


@task()
def share(total: int, parts: int) -> float:
    if parts < 0:
        raise Empty("negative")
    return total / parts


@task()
def nothing(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@task()
def some(values: list) -> list:
    return [type(each).__name__ if isinstance(each, Exception) else each for each in values]


@task()
def rethrow(error: Exception):
    return throw(KeyError("other"))


@task()
def main() -> list:
    return [
        share(1, 2),
        catch(share(1, 0), ZeroDivisionError, nothing),
        catch(share(1, -1), KeyError, rethrow, ValueError, nothing),
        catch(catch(share(1, 0), ArithmeticError, rethrow), (KeyError, OSError), nothing),
        catch_all([share(1, 4), share(1, 0)], error_class=Exception, recover=some),
        catch_all([share(1, 4), share(1, 1)], Exception, some),
    ]
