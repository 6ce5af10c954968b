"""What a run is made of, a file for each thing: functions whose parameters name what they need.

`run` is the run as it is built (`wf_run.run_build.RunBuild`); all other parameters are values of
`wf_run.graph.PROVIDERS`.
"""
