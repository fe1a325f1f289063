"""One line gives every test of this project the fixture `rehearsal`."""

pytest_plugins = ["rayflow.testing.fixtures"]
