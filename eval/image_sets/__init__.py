"""Any folder of drawn pictures beside a folder of true ones: distances, precision and recall, fit to the prompts."""
