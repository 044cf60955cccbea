"""``pirf demo`` as a script: the main job in five minutes on two cores.  What it does is in :mod:`pirf.cli.demonstration`."""

from pirf.cli.demonstration import demo

if __name__ == "__main__":
    demo()
