"""All kinds of faults of the campaign, in the order in which they run."""

from __future__ import annotations

from fault_campaign.kinds_ends import ENDS
from fault_campaign.kinds_observers import OBSERVERS
from fault_campaign.kinds_operator import OPERATOR
from fault_campaign.kinds_processes import PROCESSES
from fault_campaign.kinds_senders import SENDERS
from fault_campaign.kinds_streams import STREAMS

KINDS = {
    kind.name: kind for kind in (*STREAMS, *PROCESSES, *OPERATOR, *SENDERS, *OBSERVERS, *ENDS)
}
