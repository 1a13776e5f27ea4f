{{ compiled_relation("order_values") }}
