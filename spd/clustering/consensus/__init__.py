"""The stable groups of an ensemble: which groups to believe, and why.

1. `cut_members`: each member's found groups, or its history at its MDL minimum, an iteration, a number of groups.
2. `find_consensus`: co-association of components over the members; cores, stable groups, consensus partition; how
   firm each group is, how sure each component's place, which member represents the ensemble.
3. `agreement_along_iterations`: how much members agree at each number of groups, not only at the cut.
4. `write_stable_groups`, `read_stable_groups`, `to_dataframe`, `write_mapping`: the answer as files.
"""

from spd.clustering.consensus.agreement import Agreement, agreement_along_iterations
from spd.clustering.consensus.content import StableGroups
from spd.clustering.consensus.cuts import FOUND_GROUPS, Cut, CutKind, MemberCuts, cut_members
from spd.clustering.consensus.mapping_form import write_mapping
from spd.clustering.consensus.stable_groups import Consensus, Member, find_consensus
from spd.clustering.consensus.stable_groups_file import read_stable_groups, write_stable_groups
from spd.clustering.consensus.tables import summary_text, to_dataframe

__all__ = [
    "FOUND_GROUPS",
    "Agreement",
    "Consensus",
    "Cut",
    "CutKind",
    "Member",
    "MemberCuts",
    "StableGroups",
    "agreement_along_iterations",
    "cut_members",
    "find_consensus",
    "read_stable_groups",
    "summary_text",
    "to_dataframe",
    "write_mapping",
    "write_stable_groups",
]
