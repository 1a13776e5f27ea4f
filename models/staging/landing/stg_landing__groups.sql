select
    group_id,
    valid_from_date,
    name,
    trade,
    region,
    manager_id,
    is_nominated_strategic,
    _source,
    _file_id,
    _row
from {{ source("landing", "groups") }}
