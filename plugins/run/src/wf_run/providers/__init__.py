"""The providers of a run, one module per topic: functions whose parameters name their needs.

`run` is the run under construction (`wf_run.run_build.RunBuild`); all other parameters are values of
`wf_run.graph.PROVIDERS`.
"""
