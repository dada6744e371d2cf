"""Whether right answers rest on the evidence: PT and IR of tables of rationales, without model and images."""
