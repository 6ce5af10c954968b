"""The conditions that every run records; `wf_run.resuming` reads and compares them."""

from __future__ import annotations

from wf import Condition

CONDITIONS = (
    Condition(
        name="dataset",
        summary="the samples: bytes of tensors; names, sizes and targets of files",
        means="other samples give other gradients, and samples may move between splits",
        level="error",
        fix="put the data back as they were",
    ),
    Condition(
        name="run-file",
        summary="the content of `run.toml`, except length, data path, checkpoints and device",
        means="a mixture of two runs: the optimizer's values come from the checkpoint",
        level="error",
        fix="undo the edit of run.toml",
    ),
    Condition(
        name="code",
        summary="the files of your own code, by their checksums",
        means="other code computes something else",
        level="error",
        fix="the code that the run was made with is in its folder code/",
    ),
    Condition(
        name="components",
        summary="the plugin and class of each component",
        means="another class is a different component",
        level="error",
        fix="install the plugins that the run was made with",
    ),
    Condition(
        name="plugin-code",
        summary="the files of the plugins' packages, and of local packages that these or your own files import",
        means="other code computes something else, even under the same version",
        level="error",
        fix="undo the edit, or install the code that the run was made with",
    ),
    Condition(
        name="world-size",
        summary="the number of processes; an error in run files of format 1, where each has batches of its own",
        means="gradients are summed in another order, and new processes draw from generators of their own",
        level="warning",
        fix="start as many processes as before",
    ),
    Condition(
        name="device",
        summary="the kind of device: cpu, cuda, mps",
        means="other kernels, which add in another order, and another random generator",
        level="error",
        fix="resume it on that device",
    ),
    Condition(
        name="threads",
        summary="torch's threads, where the run computes on the cpu",
        means="gradients differ in their last bits between one thread and two",
        level="error",
        fix="set OMP_NUM_THREADS to the previous number",
    ),
    Condition(
        name="precision",
        summary="torch's default dtype, precision of float32 products, TF32 and reduced-precision sums",
        means="products are rounded differently",
        level="error",
        fix="restore torch's precision settings",
    ),
    Condition(
        name="torch",
        summary="the version of torch, major and minor",
        means="kernels and generators change between such versions",
        level="error",
        fix="install that version of torch",
    ),
    Condition(
        name="schema",
        summary="the version of the format of saved states",
        means="the state may be read differently",
        level="error",
        fix="install the wf that the run was made with",
    ),
    Condition(
        name="state",
        summary="the state of each part: loading and exporting it again must change nothing",
        means="a part continues from a state other than the saved one",
        level="error",
        fix="make load_state_dict restore everything that state_dict returns",
    ),
    Condition(
        name="torch-build",
        summary="the patch version and the build of torch",
        means="usually nothing; a bundled library may have other kernels",
        level="warning",
    ),
    Condition(
        name="device-name",
        summary="the model of the device, and the instruction set that torch uses on a CPU",
        means="it determines the kernels: on another model the last bits may differ",
        level="warning",
    ),
    Condition(
        name="determinism",
        summary="torch's deterministic algorithms, cuDNN's deterministic mode and its search for fast kernels",
        means="other kernels may be chosen",
        level="warning",
    ),
    Condition(
        name="plugin-versions",
        summary="the versions of the components' distributions",
        means="nothing, if the code of the components is the same",
        level="warning",
    ),
    Condition(
        name="wf",
        summary="the version of wf",
        means="nothing, if the loop and the random streams are the same",
        level="warning",
    ),
    Condition(
        name="python",
        summary="the version of Python",
        means="nothing known",
        level="warning",
    ),
    Condition(
        name="numpy",
        summary="the version of NumPy",
        means="what datasets and transforms compute with it may differ",
        level="warning",
    ),
)
