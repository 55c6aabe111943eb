"""The syntax and the functions of DuckDB's dialect that mean the same once they are translated to Spark's.

All others are refused when a view is saved. `tests/engines/spark/test_both_engines.py` runs what is listed here on both
engines.
"""

from sqlglot import exp

# Of each, the class of the syntax tree.
SYNTAX: tuple[type[exp.Expr], ...] = (
    *(exp.Select, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset),
    *(exp.With, exp.CTE, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.Qualify, exp.Distinct, exp.Values),
    *(exp.Tuple, exp.Column, exp.Identifier, exp.Table, exp.TableAlias, exp.Alias, exp.Star, exp.Paren, exp.Dot),
    *(exp.Literal, exp.Boolean, exp.Null, exp.DataType, exp.DataTypeParam, exp.Cast, exp.TryCast, exp.Interval),
    *(
        exp.Var,
        exp.And,
        exp.Or,
        exp.Not,
        exp.EQ,
        exp.NEQ,
        exp.GT,
        exp.GTE,
        exp.LT,
        exp.LTE,
        exp.Is,
        exp.In,
        exp.Between,
    ),
    *(exp.NullSafeEQ, exp.NullSafeNEQ, exp.Like, exp.ILike, exp.Exists, exp.Case, exp.If),
    *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe, exp.Var),
    *(exp.Window, exp.WindowSpec, exp.Filter),
)
FUNCTIONS: tuple[type[exp.Expr], ...] = (
    *(exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.CountIf, exp.Stddev, exp.StddevPop, exp.StddevSamp),
    *(exp.Variance, exp.VariancePop, exp.LogicalAnd, exp.LogicalOr),
    *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag, exp.Lead),
    *(exp.FirstValue, exp.LastValue),
    *(exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.Abs, exp.Ceil, exp.Floor, exp.Round, exp.Sqrt, exp.Pow),
    *(exp.Exp, exp.Ln, exp.Sign),
    *(exp.Upper, exp.Lower, exp.Length, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.Replace, exp.StartsWith),
    *(exp.Contains, exp.Reverse, exp.Concat, exp.RegexpLike),
    *(exp.Extract, exp.Year, exp.Quarter, exp.Month, exp.Day, exp.Hour, exp.Minute, exp.TimestampTrunc),
    *(exp.DateDiff, exp.CurrentDate, exp.CurrentTimestamp),
)
EXTRACTED = frozenset({"YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE", "WEEK", "DOY"})
TRUNCATED = frozenset({"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"})
ADDED = frozenset({"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"})
JOINS = frozenset({"", "INNER", "CROSS", "OUTER", "SEMI", "ANTI"})
SIDES = frozenset({"", "LEFT", "RIGHT", "FULL"})
