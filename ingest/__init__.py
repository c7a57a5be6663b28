"""From a watched folder to recorded evidence and the jobs it owes."""
