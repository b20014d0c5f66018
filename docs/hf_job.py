# /// script
# requires-python = ">=3.11"
# dependencies = ["deeplens_hf[train] @ git+https://huggingface.co/spaces/deeplens-hf/deeplens"]
# ///
"""Fine-tune on the Hub's machines: data set in, model out. Run it with

    hf jobs uv run --flavor a10g-small --secrets HF_TOKEN --timeout 2h docs/hf_job.py \\
        --data owner/photos --push-to owner/deeplens-mine

Every option of `deeplens train depth` may follow; the renderer keeps the weights it has.
"""

import subprocess
import sys

import torch

command = ["-m", "deeplens_hf", "train", "depth", "--from", "deeplens-hf/deeplens", "--out", "run"]
command += ["--precision", "bf16", *sys.argv[1:]]  # what is given last counts
processes = max(1, torch.cuda.device_count())
launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
sys.exit(subprocess.run([sys.executable, *launcher, *command]).returncode)
