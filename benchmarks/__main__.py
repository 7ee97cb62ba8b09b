"""Every benchmark, one after the other: `make bench`. Each module takes arguments of its own, see its --help."""

import subprocess
import sys

MODULES = ("merge", "storage", "log_cost", "distances", "harvest", "groups", "recovery", "report")

if __name__ == "__main__":
    for module in MODULES:
        print(f"\n== {module}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=True)
