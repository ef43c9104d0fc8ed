"""Functions that a sandboxed child may run: each reads a file from outside. The only place that names them.

The sandbox imports none of them: the child does, by these names. An entry is a module and a function at its top level.
"""

ENTRY_POINTS = frozenset(
    {
        ("storage.parquet", "result_record"),
        ("storage.video.probe", "begins_with"),
        ("storage.video.probe", "probe_record"),
        ("tasks.model.confined_conversion", "convert_in_child"),
        ("tasks.segment.sandboxed", "picked_tensors"),
        ("tasks.segment.sandboxed", "region_tensors"),
        ("tasks.segment.sandboxed", "segment_tensors"),
        ("tasks.segment.sandboxed", "write_overlay"),
        ("tasks.segment.sandboxed", "write_still"),
    }
)
