"""The views of the demonstration, each after those that it reads.

    flights ── flown_flights* ─┬─ daily_carrier_delays ──┬─ carrier_scorecard ─┐
    airlines ┘                 ├─ plane_age_delays ──────┘                     ├─ carrier_report
    planes ────────────────────┘                                               │
    airports ── flown_flights* ── busiest_routes ──────────────────────────────┤
    weather ── hourly_weather* ── weather_delays ──────────────────────────────┘

    * is not materialized: the runs of the views that read it evaluate it.

Averages are taken of integers and decimals only, whose sums are exact in any order. So two computations of a view
agree to the last digit with any number of threads, and the comparison needs no tolerance.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoView:
    """A view to save; `reads` are the materialized views that must have run before it."""

    name: str
    description: str
    sql: str
    reads: tuple[str, ...] = ()
    materialized: bool = True


VIEWS = (
    DemoView(
        "flown_flights",
        "Flights that arrived, with the day, the carrier's name and whole minutes of delay",
        """
SELECT make_date(year, month, day) AS day, time_hour, origin, dest, carrier, airlines.name AS carrier_name, tailnum,
       distance, dep_delay::INTEGER AS dep_delay, arr_delay::INTEGER AS arr_delay, arr_delay > 15 AS late
FROM flights
JOIN airlines USING (carrier)
WHERE arr_delay IS NOT NULL
""",
        materialized=False,
    ),
    DemoView(
        "hourly_weather",
        "The weather of each hour at each airport, as exact decimals",
        """
SELECT origin, time_hour, temp::DECIMAL(6, 2) AS temp, wind_speed::DECIMAL(8, 2) AS wind_speed,
       precip::DECIMAL(6, 2) AS precip, visib::DECIMAL(6, 2) AS visib,
       CASE WHEN precip > 0 THEN 'rain or snow' WHEN visib < 5 THEN 'fog' WHEN wind_speed > 20 THEN 'wind'
            ELSE 'fair' END AS sky
FROM weather
""",
        materialized=False,
    ),
    DemoView(
        "daily_carrier_delays",
        "Delays of each carrier on each day",
        """
SELECT day, carrier, carrier_name, count(*) AS flights, count(*) FILTER (late) AS late_flights,
       round(avg(dep_delay), 2) AS avg_dep_delay, round(avg(arr_delay), 2) AS avg_arr_delay,
       max(arr_delay) AS worst_arr_delay, sum(distance) AS miles
FROM flown_flights
GROUP BY day, carrier, carrier_name
""",
    ),
    DemoView(
        "weather_delays",
        "Departures of each carrier in each hour, beside the weather they had",
        """
SELECT f.origin, f.time_hour, f.carrier, w.sky, w.temp, w.wind_speed, w.precip, count(*) AS flights,
       sum(f.dep_delay) AS dep_delay_minutes, round(avg(f.dep_delay), 2) AS avg_dep_delay
FROM flown_flights AS f
JOIN hourly_weather AS w USING (origin, time_hour)
GROUP BY ALL
""",
    ),
    DemoView(
        "busiest_routes",
        "Flights of each carrier on each route, ranked",
        """
SELECT f.carrier, f.origin, f.dest, coalesce(a.name, f.dest) AS dest_name, count(*) AS flights,
       round(avg(f.arr_delay), 2) AS avg_arr_delay,
       row_number() OVER (ORDER BY count(*) DESC, f.carrier, f.origin, f.dest) AS rank,
       row_number() OVER (PARTITION BY f.carrier ORDER BY count(*) DESC, f.origin, f.dest) AS rank_of_carrier
FROM flown_flights AS f
LEFT JOIN airports AS a ON a.faa = f.dest
GROUP BY f.carrier, f.origin, f.dest, a.name
""",
    ),
    DemoView(
        "plane_age_delays",
        "Delays of each carrier by the age of its planes",
        """
SELECT f.carrier, 2013 - TRY_CAST(p.year AS INTEGER) AS plane_age, count(DISTINCT f.tailnum) AS planes,
       count(*) AS flights, sum(f.arr_delay) AS arr_delay_minutes, round(avg(f.arr_delay), 2) AS avg_arr_delay
FROM flown_flights AS f
JOIN planes AS p USING (tailnum)
WHERE TRY_CAST(p.year AS INTEGER) IS NOT NULL
GROUP BY ALL
""",
    ),
    DemoView(
        "carrier_scorecard",
        "Punctuality of each carrier over the year, and how old its planes are",
        """
WITH punctuality AS (
    SELECT carrier, carrier_name, sum(flights) AS flights, sum(late_flights) AS late_flights, sum(miles) AS miles,
           arg_max(day, (avg_arr_delay, day)) AS worst_day
    FROM daily_carrier_delays
    GROUP BY carrier, carrier_name
), fleet AS (
    SELECT carrier, round(sum(plane_age * flights) / sum(flights), 1) AS avg_plane_age,
           round(sum(arr_delay_minutes) FILTER (plane_age >= 15) / sum(flights) FILTER (plane_age >= 15), 2)
               AS avg_delay_of_old_planes
    FROM plane_age_delays
    GROUP BY carrier
)
SELECT carrier, carrier_name, flights, miles, round(100 * late_flights / flights, 2) AS percent_late, worst_day,
       avg_plane_age, avg_delay_of_old_planes
FROM punctuality
LEFT JOIN fleet USING (carrier)
""",
        reads=("daily_carrier_delays", "plane_age_delays"),
    ),
    DemoView(
        "carrier_report",
        "One line for each carrier: its score, its main route, and what bad weather does to it",
        """
WITH skies AS (
    SELECT carrier, round(sum(dep_delay_minutes) FILTER (sky = 'fair') / sum(flights) FILTER (sky = 'fair'), 2)
               AS delay_in_fair_weather,
           round(sum(dep_delay_minutes) FILTER (sky <> 'fair') / sum(flights) FILTER (sky <> 'fair'), 2)
               AS delay_in_bad_weather
    FROM weather_delays
    GROUP BY carrier
)
SELECT row_number() OVER (ORDER BY s.percent_late, s.carrier) AS place, s.carrier_name, s.flights, s.percent_late,
       r.origin || ' - ' || r.dest_name AS main_route, s.worst_day, s.avg_plane_age, k.delay_in_fair_weather,
       k.delay_in_bad_weather
FROM carrier_scorecard AS s
JOIN busiest_routes AS r ON r.carrier = s.carrier AND r.rank_of_carrier = 1
LEFT JOIN skies AS k ON k.carrier = s.carrier
ORDER BY place
""",
        reads=("carrier_scorecard", "busiest_routes", "weather_delays"),
    ),
)
