"""What a configuration's fusion costs: its circuits drawn, counted, timed, and swept over qubits and layers."""
