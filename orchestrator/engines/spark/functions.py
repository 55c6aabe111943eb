"""The functions that a text in Spark's own dialect may call: those of Spark that reach nothing but its rows."""

_MATH = """
abs acos acosh asin asinh atan atan2 atanh bin bround cbrt ceil ceiling conv cos cosh cot csc degrees e exp expm1
factorial floor greatest hex hypot least ln log log10 log1p log2 negate negative nanvl pi pmod positive pow power
radians rint round sec shiftleft shiftright shiftrightunsigned sign signum sin sinh sqrt tan tanh try_add try_avg
try_divide try_mod try_multiply try_subtract try_sum unhex width_bucket div mod bit_count bit_get getbit
"""
_TEXTS = """
ascii base64 bit_length btrim char char_length character_length chr concat concat_ws contains decode elt encode endswith
find_in_set format_number format_string initcap instr lcase left length levenshtein locate lower lpad ltrim mask
octet_length overlay position printf regexp regexp_count regexp_extract regexp_extract_all regexp_instr regexp_like
regexp_replace regexp_substr repeat replace reverse right rlike rpad rtrim sentences soundex split split_part startswith
substr substring substring_index to_binary to_char to_number to_varchar translate trim try_to_binary try_to_number ucase
unbase64 upper url_decode url_encode crc32 md5 sha sha1 sha2 hash xxhash64 len
"""
_TIMES = """
add_months convert_timezone curdate current_date current_timestamp current_timezone date_add date_diff date_format
date_from_unix_date date_part date_sub date_trunc dateadd datediff datepart day dayname dayofmonth dayofweek dayofyear
extract from_unixtime from_utc_timestamp hour last_day localtimestamp make_date make_dt_interval make_interval
make_timestamp make_timestamp_ltz make_timestamp_ntz make_ym_interval minute month monthname months_between next_day now
quarter second timestamp_micros timestamp_millis timestamp_seconds to_date to_timestamp to_timestamp_ltz
to_timestamp_ntz to_unix_timestamp to_utc_timestamp trunc try_to_date try_to_timestamp unix_date unix_micros unix_millis
unix_seconds unix_timestamp weekday weekofyear window year date timestamp
"""
_NESTED = """
aggregate array array_append array_compact array_contains array_distinct array_except array_insert array_intersect
array_join array_max array_min array_position array_prepend array_remove array_repeat array_size array_sort array_union
arrays_overlap arrays_zip cardinality element_at exists explode explode_outer filter flatten forall from_json get
get_json_object inline inline_outer json_array_length json_object_keys json_tuple map map_concat map_contains_key
map_entries map_filter map_from_arrays map_from_entries map_keys map_values map_zip_with named_struct parse_json
posexplode posexplode_outer reduce schema_of_json sequence size slice sort_array stack str_to_map struct to_json
transform transform_keys transform_values try_element_at zip_with
"""
_AGGREGATES = """
any any_value approx_count_distinct approx_percentile array_agg avg bit_and bit_or bit_xor bool_and bool_or collect_list
collect_set corr count count_if covar_pop covar_samp every first first_value grouping grouping_id histogram_numeric
kurtosis last last_value listagg max max_by mean median min min_by mode percentile percentile_approx regr_avgx regr_avgy
regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy skewness some std stddev stddev_pop stddev_samp
string_agg sum var_pop var_samp variance product
"""
_WINDOWS = "cume_dist dense_rank lag lead nth_value ntile percent_rank rank row_number"
_OTHERS = """
assert_true bigint binary boolean cast coalesce decimal double equal_null float if iff ifnull int isnan isnotnull isnull
nullif nullifzero nvl nvl2 raise_error smallint string tinyint typeof zeroifnull when case
"""
# Each gives other values each time, or the moment of the query.
_VARYING = """
rand randn random randstr uniform shuffle uuid monotonically_increasing_id current_date current_timestamp curdate now
localtimestamp unix_timestamp
"""
VARYING = frozenset(_VARYING.split())
_CONSTANT = (_MATH, _TEXTS, _TIMES, _NESTED, _AGGREGATES, _WINDOWS, _OTHERS)
CALLABLE = frozenset(name for names in (*_CONSTANT, _VARYING) for name in names.split())
