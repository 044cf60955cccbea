"""Every name of the top level and where it is documented, as a table."""

import inspect

import pirf

MODULES = {name: f"pirf.tensors.{name}" for name in pirf.tensors.__all__}

print("| name | documented as |")
print("|---|---|")
for name in sorted(pirf.__all__, key=str.lower):
    thing = getattr(pirf, name)
    if name == "__version__":
        continue
    if inspect.ismodule(thing):
        print(f"| `pirf.{name}` | {{py:mod}}`{thing.__name__}` |")
    else:
        where = MODULES.get(name) or f"{thing.__module__}.{thing.__qualname__}"
        print(f"| `pirf.{name}` | {{py:obj}}`{where}` |")
