"""Runs an execution on a Ray cluster.

`connection/` joins or starts one, `actor/` is the scheduler there, `remote.py` is what runs on workers, `cluster.py` is
the driver's way to all of them. In: commands. Out: Ray tasks, and the messages that answer them. Never: decides.
"""

import os

from rayflow.runtime.on_ray.connection.ray_settings import EVERYWHERE

os.environ.update({**EVERYWHERE, **os.environ})  # before any module of this room imports ray, which reads them then
