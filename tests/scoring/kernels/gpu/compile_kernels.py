"""Compile the GPU kernels for devices that are not there, exactly as the scorer would launch them.

Arguments: a target, and launches as JSON; what the compiler reports goes to standard output. Run
by ``test_maxsim_compiles.py`` in processes of their own, because ``TRITON_INTERPRET`` must not have
been set before triton is imported.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from align.data.multi_vector import MultiVector
from align.scoring.kernels.gpu import gradients
from align.scoring.kernels.gpu import maxsim as maxsim_triton

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
POINTERS = {
    torch.int8: "*i8", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32",
    torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip


class Recorder:
    """Stands in for a kernel and remembers its last launch."""

    launch = None

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        def launch(*args, **options):
            Recorder.launch = self.kernel, args, options

        return launch


def record(wanted):
    """The kernel, arguments and options of a launch."""
    if wanted["call"] == "sums":
        tokens, sums = (torch.zeros(4, wanted["d"], dtype=getattr(torch, wanted[name]))
                        for name in ("documents_dtype", "queries_dtype"))  # fmt: skip
        rows = torch.zeros(8, dtype=torch.int64)
        gradients._weighted_sums(tokens, rows, rows.float(), torch.arange(5) * 2, sums)
        return Recorder.launch
    queries, documents = (
        side(wanted[name], wanted["d"], wanted[f"{name}_dtype"])
        for name in ("queries", "documents")
    )
    if wanted["call"] == "topk":
        maxsim_triton.topk(queries, documents, wanted["k"])
    else:
        queries.tokens.requires_grad_(wanted["call"] == "train")
        maxsim_triton.maxsim(queries, documents)
    return Recorder.launch


def side(shape, d, dtype):
    count, length = shape
    tokens = torch.zeros(count * length, d, dtype=getattr(torch, dtype))
    scales = torch.ones(count) if dtype == "int8" else None
    return MultiVector(tokens, torch.arange(count + 1) * length, scales)


def compile_for(target, kernel, args, options):
    """Compile a launch as triton would: pointers and integers that 16 divides are known to be."""
    signature, constants, attributes = {}, {}, {}
    for at, (parameter, value) in enumerate(zip(kernel.params, args, strict=True)):
        known = type(value) is int and not parameter.do_not_specialize
        if parameter.is_constexpr or (known and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = POINTERS[value.dtype]
            attributes[(at,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "i32" if abs(value) < 2**31 else "i64"
            if known and value % 16 == 0:
                attributes[(at,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options=options)


def usage(target, compiled):
    """Bytes of spilled registers and of shared memory, and how often instructions occur."""
    shared = compiled.metadata.shared
    if target.backend == "hip":
        text = compiled.asm["amdgcn"]
        spilled = int(re.search(r"\.private_segment_fixed_size: *(\d+)", text)[1])
        return {"spilled": spilled, "shared": shared, "matrix": text.count("v_mfma_"),
                "wgmma": 0, "async_copies": 0}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(compiled.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(binary)]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    stack, local = (int(re.search(rf"{name}:(\d+)", report)[1]) for name in ("STACK", "LOCAL"))
    ptx = compiled.asm["ptx"]
    wgmma = ptx.count("wgmma.mma_async")
    return {"spilled": stack + local, "shared": shared, "matrix": ptx.count("mma.sync") + wgmma,
            "wgmma": wgmma, "async_copies": ptx.count("cp.async.c")}  # fmt: skip


def main():
    for module, names in (
        (maxsim_triton, ("scores_kernel", "topk_kernel")),
        (gradients, ("weighted_sums_kernel",)),
    ):
        for name in names:
            setattr(module, name, Recorder(getattr(module, name)))
    name_of_target, launches = sys.argv[1:]
    target = TARGETS[name_of_target]
    torch.version.hip = "6" if target.backend == "hip" else None
    found = {}
    for name, wanted in json.loads(launches).items():
        found[name] = usage(target, compile_for(target, *record(wanted)))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
