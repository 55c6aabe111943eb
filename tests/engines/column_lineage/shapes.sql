-- Shapes of queries, and what each of their columns is computed from, written down by reading the query.
--
-- A line of an expectation begins with "--:". "x = t.a ; t.b" says: the column x is computed from t.a, and t.b also
-- decides it, such as a row of a subquery. ROWS are the columns that decide which rows there are. "t.*" stands for the
-- rows of t. The name of a table may be left out where only one table has the column.
--
-- The tables: t(a, b, s, "Ünï", st, l, j), u(a, k, d), core.v(id, z) and "Mixed"("Name", "two words").

-- a CTE that has the name of a table
WITH u AS (SELECT a AS k, b AS d FROM t) SELECT k, d FROM u
--: k = t.a
--: d = b
--: ROWS t.*

-- CTEs that read one another, one of them twice
WITH x AS (SELECT a, sum(b) AS total FROM t GROUP BY a), y AS (SELECT a, total * 2 AS twice FROM x)
SELECT x.a, y.twice + x.total AS thrice FROM x JOIN y ON x.a = y.a
--: a = t.a
--: thrice = b
--: ROWS t.*, t.a

-- a CTE that nothing reads
WITH unused AS (SELECT d FROM u) SELECT b FROM t
--: b = b
--: ROWS t.*

-- a recursive CTE: the walk adds what it joins
WITH RECURSIVE walk AS (
    SELECT a AS place, 1 AS depth FROM t WHERE b IS NULL
    UNION ALL
    SELECT u.k, depth + 1 FROM walk JOIN u ON u.a = walk.place WHERE depth < 3
)
SELECT place, max(depth) AS depth FROM walk GROUP BY place
--: place = t.a, k
--: depth =
--: ROWS t.*, u.*, b, t.a, u.a, k

-- a recursive CTE whose columns change places at each step
WITH RECURSIVE turn(x, y, n) AS (SELECT a, b, 1 FROM t UNION ALL SELECT y, x, n + 1 FROM turn WHERE n < 5)
SELECT x FROM turn
--: x = t.a, b
--: ROWS t.*

-- a recursive CTE with keys
WITH RECURSIVE r(x, y) USING KEY (x) AS (SELECT a, b FROM t UNION SELECT r.x, y + d + 1 FROM r JOIN u ON r.x = u.a AND y < 4)
FROM r
--: x = t.a
--: y = b, d
--: ROWS t.*, u.*, t.a, u.a, b, d

-- UNION ALL goes by place, not by name
SELECT a, b FROM t UNION ALL SELECT k, a FROM u
--: a = t.a, k
--: b = b, u.a
--: ROWS t.*, u.*

-- UNION ALL BY NAME goes by name
SELECT a, b FROM t UNION ALL BY NAME SELECT d AS b, k AS a FROM u
--: a = t.a, k
--: b = b, d
--: ROWS t.*, u.*

-- UNION drops equal rows, so that every column decides which rows there are
SELECT a, b FROM t UNION SELECT k, d FROM u
--: a = t.a, k
--: b = b, d
--: ROWS t.*, u.*, t.a, b, k, d

-- EXCEPT returns rows of its first side only
SELECT a FROM t EXCEPT SELECT k FROM u
--: a = t.a
--: ROWS t.*, u.*, t.a, k

-- INTERSECT ALL likewise
SELECT b FROM t INTERSECT ALL SELECT d FROM u
--: b = b
--: ROWS t.*, u.*, b, d

-- a star over a join with columns of one name
SELECT * FROM u JOIN core.v ON k = id
--: a = u.a
--: k = k
--: d = d
--: id = id
--: z = z
--: ROWS u.*, core.v.*, k, id

-- EXCLUDE, REPLACE and RENAME
SELECT * EXCLUDE (d) REPLACE (k + d AS k) RENAME (a AS z) FROM u
--: z = u.a
--: k = k, d
--: ROWS u.*

-- COLUMNS with a pattern and a function
SELECT max(COLUMNS('^[ak]$')) FROM u
--: a = u.a ; u.*
--: k = k ; u.*
--: ROWS

-- COLUMNS in an expression with another column
SELECT COLUMNS(c -> c IN ('a', 'k')) * d FROM u
--: a = u.a, d
--: k = k, d
--: ROWS u.*

-- windows: what divides and orders the rows decides the value, and is not what it is computed from
SELECT row_number() OVER (PARTITION BY a ORDER BY k) AS n, sum(d) OVER w AS total, lag(d, 1, k) OVER w AS before
FROM u WINDOW w AS (PARTITION BY a ORDER BY k ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)
--: n = ; u.a, k
--: total = d ; u.a, k
--: before = d, k ; u.a
--: ROWS u.*

-- QUALIFY
SELECT d FROM u QUALIFY row_number() OVER (PARTITION BY a ORDER BY k DESC) = 1
--: d = d
--: ROWS u.*, u.a, k

-- a LATERAL subquery
SELECT t.b, x.top FROM t, LATERAL (SELECT max(d) AS top FROM u WHERE u.a = t.a) AS x
--: b = b
--: top = d
--: ROWS t.*, u.*, u.a, t.a

-- LATERAL with a limit
SELECT t.b, x.d FROM t LEFT JOIN LATERAL (SELECT d FROM u WHERE u.a = t.a ORDER BY k LIMIT 1) AS x ON true
--: b = b
--: d = d
--: ROWS t.*, u.*, u.a, t.a, k

-- fields of structs are parts of their column
SELECT st.x AS x, st['y'] AS y, struct_pack(p := a, q := b).q AS q FROM t
--: x = st
--: y = st
--: q = t.a, b
--: ROWS t.*

-- a star over a struct
SELECT st.* FROM t
--: x = st
--: y = st
--: ROWS t.*

-- unnest in the SELECT list
SELECT b, unnest(l) AS element FROM t
--: b = b
--: element = l
--: ROWS t.*, l

-- unnest in FROM
SELECT b, e FROM t, unnest(t.l) AS q(e)
--: b = b
--: e = l
--: ROWS t.*, l

-- a table function over a column
SELECT b, r.i FROM t, range(t.a) AS r(i)
--: b = b
--: i = t.a
--: ROWS t.*, t.a

-- JSON as rows
SELECT a, e.value FROM t, json_each(t.j) AS e
--: a = t.a
--: value = j
--: ROWS t.*, j

-- PIVOT
PIVOT u ON k IN (1, 2) USING sum(d) GROUP BY a
--: a = u.a
--: 1 = d ; k
--: 2 = d ; k
--: ROWS u.*, u.a

-- PIVOT of many values, for which DuckDB has another operator
SELECT a, "7" FROM (PIVOT u ON k IN (1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22) USING sum(d) GROUP BY a)
--: a = u.a
--: 7 = d ; k
--: ROWS u.*, u.a, k

-- UNPIVOT
UNPIVOT u ON k, d INTO NAME name VALUE value
--: a = u.a
--: name =
--: value = k, d
--: ROWS u.*, k, d

-- a correlated subquery in the SELECT list decides its own column, not the rows
SELECT b, (SELECT max(d) FROM u WHERE u.a = t.a) AS top FROM t
--: b = b
--: top = d ; u.*, u.a, t.a
--: ROWS t.*

-- a correlated subquery with ORDER BY and LIMIT
SELECT b, (SELECT d FROM u WHERE u.a = t.a ORDER BY k LIMIT 1) AS first FROM t
--: b = b
--: first = d ; u.*, u.a, t.a, k
--: ROWS t.*

-- subqueries in a correlated subquery
SELECT (SELECT max(d) FROM u WHERE u.a = t.a AND k > (SELECT avg(z) FROM core.v WHERE id = t.b)) AS top FROM t
--: top = d ; u.*, core.v.*, u.a, t.a, k, z, id, b
--: ROWS t.*

-- EXISTS and IN as values
SELECT EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND d > 1) AS is_there, b IN (SELECT k FROM u WHERE d = 1) AS is_in FROM t
--: is_there = ; u.*, u.a, t.a, d
--: is_in = b, k ; u.*, d
--: ROWS t.*

-- IN and NOT EXISTS as filters
SELECT b FROM t WHERE a IN (SELECT k FROM u) AND NOT EXISTS (SELECT 1 FROM core.v WHERE id = t.a AND z > t.b)
--: b = b
--: ROWS t.*, u.*, core.v.*, t.a, k, id, z, b

-- a comparison with all rows of a subquery
SELECT b > ALL (SELECT k FROM u) AS is_most FROM t
--: is_most = b, k ; u.*
--: ROWS t.*

-- an inner join with USING has the column of the left side
SELECT a, b, d FROM t JOIN u USING (a)
--: a = t.a
--: b = b
--: d = d
--: ROWS t.*, u.*, t.a, u.a

-- a right join with USING has that of the right side
SELECT a, b FROM t RIGHT JOIN u USING (a)
--: a = u.a
--: b = b
--: ROWS t.*, u.*, t.a, u.a

-- a full join with USING has both
SELECT a FROM t FULL JOIN u USING (a)
--: a = t.a, u.a
--: ROWS t.*, u.*, t.a, u.a

-- a natural join
SELECT a, k FROM t NATURAL JOIN u
--: a = t.a
--: k = k
--: ROWS t.*, u.*, t.a, u.a

-- a SEMI join and an ANTI join
SELECT b FROM t SEMI JOIN u USING (a) ANTI JOIN core.v ON id = b
--: b = b
--: ROWS t.*, u.*, core.v.*, t.a, u.a, id, b

-- an ASOF join
SELECT t.a, u.d FROM t ASOF JOIN u ON t.a = u.a AND t.b >= u.k
--: a = t.a
--: d = d
--: ROWS t.*, u.*, t.a, u.a, b, k

-- a POSITIONAL join
SELECT b, d FROM t POSITIONAL JOIN u
--: b = b
--: d = d
--: ROWS t.*, u.*

-- a join by any condition
SELECT b, d FROM t LEFT JOIN u ON t.a + u.a > 3 OR t.b = u.k
--: b = b
--: d = d
--: ROWS t.*, u.*, t.a, u.a, b, k

-- aliases that have the name of another column: WHERE reads the column
SELECT a AS b, b AS a FROM t WHERE b > 1
--: b = t.a
--: a = b
--: ROWS t.*, b

-- an alias that is used in a later expression, in WHERE and in ORDER BY
SELECT k + d AS x, x * 2 AS y FROM u WHERE x > 3 ORDER BY y
--: x = k, d
--: y = k, d
--: ROWS u.*, k, d

-- ORDER BY reads the alias before the column
SELECT k AS d FROM u ORDER BY d
--: d = k
--: ROWS u.*, k

-- a column of the outer query with the name of one of the inner: the inner one is meant
SELECT (SELECT count(*) FROM u WHERE a = k) AS n FROM t
--: n = ; u.*, u.a, k
--: ROWS t.*

-- names in quotes, of other cases and letters
SELECT "NAME", mixed."Two Words" AS "Zwei Wörter", "Ünï" AS ünï FROM "mixed", T
--: Name = "Mixed"."Name"
--: Zwei Wörter = "Mixed"."two words"
--: ünï = "Ünï"
--: ROWS "Mixed".*, t.*

-- a dotted name of a view, read with an alias, with all of its name and with its last part
SELECT core.v.id, v.z, w.z AS again FROM core.v JOIN core.v AS w USING (id)
--: id = id
--: z = z
--: again = z
--: ROWS core.v.*, id

-- GROUP BY ALL
SELECT a, k % 2 AS odd, sum(d) AS total FROM u GROUP BY ALL
--: a = u.a
--: odd = k
--: total = d
--: ROWS u.*, u.a, k

-- GROUPING SETS
SELECT a, k, grouping(a) AS g, count(DISTINCT d) AS n FROM u GROUP BY ROLLUP (a, k)
--: a = u.a
--: k = k
--: g =
--: n = d
--: ROWS u.*, u.a, k

-- HAVING
SELECT a FROM u GROUP BY a HAVING sum(d) > 1
--: a = u.a
--: ROWS u.*, u.a, d

-- aggregates with a filter and an order
SELECT sum(d) FILTER (WHERE k > 1) AS total, list(d ORDER BY k) AS all_of_it, arg_max(a, k) AS best FROM u
--: total = d ; u.*, k
--: all_of_it = d ; u.*, k
--: best = u.a, k ; u.*
--: ROWS

-- DISTINCT ON
SELECT DISTINCT ON (a) a, d FROM u ORDER BY a, k
--: a = u.a
--: d = d
--: ROWS u.*, u.a, k

-- a list comprehension, with a column as its limit
SELECT [x + b FOR x IN l IF x > a] AS some FROM t
--: some = l, b, t.a
--: ROWS t.*

-- lambdas in lambdas
SELECT list_transform(l, x -> list_sum(list_transform(l, y -> x * y + b))) AS sums FROM t
--: sums = l, b
--: ROWS t.*

-- VALUES
SELECT x.n, b FROM (VALUES (1, 'one'), (2, 'two')) AS x(n, s) JOIN t ON t.a = x.n
--: n =
--: b = b
--: ROWS t.*, t.a

-- VALUES with a subquery in it
VALUES (1), ((SELECT max(d) FROM u))
--: col0 = d ; u.*
--: ROWS

-- a sample and a limit
SELECT d FROM u USING SAMPLE reservoir(5 ROWS) LIMIT (SELECT max(id) FROM core.v)
--: d = d
--: ROWS u.*, core.v.*, id

-- CASE: what decides is part of the expression
SELECT CASE WHEN a > 1 THEN k ELSE d END AS x, coalesce(k, d) AS y FROM u
--: x = u.a, k, d
--: y = k, d
--: ROWS u.*

-- a whole row as a struct
SELECT u AS whole FROM u
--: whole = u.a, k, d
--: ROWS u.*

-- FROM first, and a prefix alias
FROM x: u SELECT total: x.k + x.d
--: total = k, d
--: ROWS u.*

-- SUMMARIZE is computed from every column
SELECT "count", "max" FROM (SUMMARIZE core.v)
--: count = ; core.v.*
--: max = id, z ; core.v.*
--: ROWS id, z, core.v.*

-- nothing is read
SELECT 1 AS one, i FROM range(3) AS r(i)
--: one =
--: i =
--: ROWS
