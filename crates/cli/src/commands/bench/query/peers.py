"""The seven questions of `northstar bench query`, asked of DuckDB and of ClickHouse in this process.

usage: peers.py TIME_SORTED.parquet ACTOR_SORTED.parquet CACHE_FOLDER ENGINES

Reads names of questions from standard input, one a line, and answers each with one line of JSON: for every table and
form of the question that an engine has, its milliseconds and its rows. Each engine has the events twice, once in the
order of time and once by actor, and two threads; the fastest of its answers is the one that counts.
"""
import datetime
import decimal
import json
import os
import sys
import time

FIRST_DAY = datetime.date(2026, 3, 2)
COLUMNS = "ts, actor, event, plan, country, channel, device, amount"


def plain(value):
    """A value as the answers of the bench have it: days as numbers from the first, whole numbers as integers."""
    if isinstance(value, datetime.datetime):
        return (value.date() - FIRST_DAY).days
    if isinstance(value, datetime.date):
        return (value - FIRST_DAY).days
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float) and value == int(value):
        return int(value)
    return value


class DuckDb:
    """DuckDB: one table an order, in a file each that later runs find again."""

    name = "duckdb"

    def __init__(self, files, cache):
        import duckdb

        self.tables = {}
        for order, source in files.items():
            path = os.path.join(cache, f"duckdb-{order}.db")
            loaded = os.path.exists(path)
            connection = duckdb.connect(path)
            connection.execute("SET threads = 2")
            # It would be drawn between the answers.
            connection.execute("SET enable_progress_bar = false")
            if not loaded:
                connection.execute(f"CREATE TABLE events AS SELECT {COLUMNS} FROM '{source}'")
                connection.execute("CHECKPOINT")
            self.tables[order] = connection
        self.forms = self.questions()

    @staticmethod
    def questions():
        day = "CAST(ts AS DATE)"
        week = f"(({day} - DATE '2026-03-02') // 7)"
        signups = "SELECT actor, min(ts) AS began, min(country) AS country FROM events WHERE event = 'signup' GROUP BY actor"

        def step(name, event, of, keys, after):
            """The first such event of an actor that is not before the step before it, within seven days."""
            return f"""{name} AS (SELECT {keys}, min(e.ts) AS {name}_at FROM {of} p LEFT JOIN events e
                ON e.actor = p.actor AND e.event = '{event}' AND e.ts >= p.{after} AND e.ts <= p.began + INTERVAL 7 DAY
                GROUP BY {keys})"""

        base = "p.actor, p.country, p.began"
        funnel = (
            f"WITH s AS ({signups}), "
            + step("a", "activate", "s", base, "began") + ", "
            + step("u", "use_feature", "a", f"{base}, p.a_at", "a_at") + ", "
            + step("b", "purchase", "u", f"{base}, p.a_at, p.u_at", "u_at")
            + " SELECT country, count(*), count(a_at), count(u_at), count(b_at) FROM b GROUP BY country"
        )
        return {
            "Q1": [
                f"SELECT {day} AS d, count(DISTINCT actor) FROM events GROUP BY d",
                f"SELECT d, count(*) FROM (SELECT DISTINCT {day} AS d, actor FROM events) GROUP BY d",
            ],
            "Q2": [
                f"""WITH active AS (SELECT DISTINCT {day} AS d, actor FROM events)
                    SELECT (d - DATE '2026-03-02') // 30 AS block, count(DISTINCT actor), count(*)
                    FROM active GROUP BY block"""
            ],
            "Q3": [funnel],
            "Q4": [
                f"""WITH began AS (SELECT actor, min({week}) AS w0 FROM events WHERE event = 'signup' GROUP BY actor),
                    active AS (SELECT DISTINCT actor, {week} AS w FROM events)
                    SELECT w0, w - w0, count(*) FROM active JOIN began USING (actor)
                    WHERE w0 < 12 AND w < 12 GROUP BY ALL"""
            ],
            "Q5": [
                f"""SELECT {day} AS d, plan, sum(amount) FROM events
                    WHERE event = 'purchase' AND channel = 'paid' GROUP BY ALL"""
            ],
            "Q6": [
                f"""WITH s AS (SELECT actor, min(ts) AS ts FROM events WHERE event = 'signup' GROUP BY actor),
                    pairs AS (SELECT {week.replace('ts', 's.ts')} AS w, s.ts AS began, min(e.ts) AS reached
                        FROM s JOIN events e ON e.actor = s.actor AND e.event = 'activate' AND e.ts >= s.ts
                        GROUP BY s.actor, s.ts)
                    SELECT w, count(*), quantile_cont((epoch_us(reached) - epoch_us(began)) / 1000.0, 0.5),
                        quantile_cont((epoch_us(reached) - epoch_us(began)) / 1000.0, 0.95)
                    FROM pairs GROUP BY w"""
            ],
            "Q7": [
                """WITH exposed AS (SELECT actor, min(ts) AS at FROM events WHERE event = 'exp_exposure' GROUP BY actor),
                    each AS (SELECT x.actor,
                        coalesce(sum(e.amount) FILTER (e.ts < x.at), 0) AS x,
                        coalesce(sum(e.amount) FILTER (e.ts >= x.at), 0) AS y,
                        count(e.ts) FILTER (e.ts >= x.at) > 0 AS bought
                        FROM exposed x LEFT JOIN events e ON e.actor = x.actor AND e.event = 'purchase'
                            AND e.ts >= x.at - INTERVAL 14 DAY AND e.ts < x.at + INTERVAL 14 DAY
                        GROUP BY x.actor)
                    SELECT actor % 2, count(*), count(*) FILTER (bought), sum(x), sum(x * x), sum(y), sum(y * y),
                        sum(x * y) FROM each GROUP BY actor % 2"""
            ],
        }

    def ask(self, question):
        for order, connection in self.tables.items():
            for form in self.forms[question]:
                start = time.perf_counter()
                rows = connection.execute(form).fetchall()
                yield order, (time.perf_counter() - start) * 1e3, rows


class ClickHouse:
    """ClickHouse within this process (chdb): MergeTree by event and time, and by actor and time."""

    name = "chdb"

    def __init__(self, files, cache):
        from chdb import session

        self.session = session.Session(os.path.join(cache, "chdb"))
        self.session.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        keys = {"time": "(event, ts)", "actor": "(actor, ts)"}
        for order, source in files.items():
            known = f"SELECT count() FROM system.tables WHERE database = 'bench' AND name = '{order}'"
            if self.rows(known)[0][0] != 0:
                continue
            text = "LowCardinality(String)"
            self.session.query(
                f"""CREATE TABLE bench.{order} (ts DateTime64(6, 'UTC'), actor UInt32, event {text}, plan {text},
                    country {text}, channel {text}, device {text}, amount Nullable(Int32))
                    ENGINE = MergeTree ORDER BY {keys[order]}"""
            )
            self.session.query(f"INSERT INTO bench.{order} SELECT {COLUMNS} FROM file('{source}')")
            self.session.query(f"OPTIMIZE TABLE bench.{order} FINAL")
        self.orders = list(files)

    @staticmethod
    def questions(table):
        day = "toUInt16(toDate(ts) - toDate('2026-03-02'))"
        week = f"intDiv({day}, 7)"
        micros = "toInt64(toUnixTimestamp64Micro(ts))"
        fortnight = 14 * 86_400_000_000
        return {
            "Q1": f"SELECT {day} AS d, uniqExact(actor) FROM {table} GROUP BY d",
            "Q2": f"""SELECT intDiv(d, 30) AS block, uniqExact(actor), count()
                FROM (SELECT DISTINCT {day} AS d, actor FROM {table}) GROUP BY block""",
            "Q3": f"""SELECT c, count(), countIf(reached >= 2), countIf(reached >= 3), countIf(reached >= 4) FROM (
                SELECT anyIf(country, event = 'signup') AS c, windowFunnel({7 * 86_400_000_000})(toUInt64({micros}),
                    event = 'signup', event = 'activate', event = 'use_feature', event = 'purchase') AS reached
                FROM {table} WHERE event IN ('signup', 'activate', 'use_feature', 'purchase')
                GROUP BY actor HAVING reached >= 1) GROUP BY c""",
            "Q4": f"""SELECT w0, w - w0 AS k, count() FROM (
                SELECT minIf({week}, event = 'signup') AS w0, groupUniqArray({week}) AS active
                FROM {table} GROUP BY actor HAVING countIf(event = 'signup') > 0) ARRAY JOIN active AS w
                WHERE w0 < 12 AND w < 12 GROUP BY w0, k""",
            "Q5": f"""SELECT {day} AS d, plan, sum(amount) FROM {table}
                WHERE event = 'purchase' AND channel = 'paid' GROUP BY d, plan""",
            "Q6": f"""SELECT intDiv(toUInt16(toDate(began) - toDate('2026-03-02')), 7) AS w, count(),
                    quantileExactInclusive(0.5)(millis), quantileExactInclusive(0.95)(millis) FROM (
                SELECT minIf(ts, event = 'signup') AS began,
                    arrayFilter(at -> at >= began, groupArrayIf(ts, event = 'activate')) AS later,
                    ({micros.replace('ts', 'arrayMin(later)')} - {micros.replace('ts', 'began')}) / 1000 AS millis
                FROM {table} WHERE event IN ('signup', 'activate') GROUP BY actor
                HAVING countIf(event = 'signup') > 0 AND notEmpty(later)) GROUP BY w""",
            "Q7": f"""SELECT actor % 2 AS arm, count(), sum(bought), sum(x), sum(x * x), sum(y), sum(y * y), sum(x * y)
                FROM (SELECT actor, minIf({micros}, event = 'exp_exposure') AS at,
                    groupArrayIf(({micros}, toInt64(assumeNotNull(amount))), event = 'purchase') AS spent,
                    arraySum(e -> if(e.1 < at AND e.1 >= at - {fortnight}, e.2, 0), spent) AS x,
                    arraySum(e -> if(e.1 >= at AND e.1 < at + {fortnight}, e.2, 0), spent) AS y,
                    arrayExists(e -> e.1 >= at AND e.1 < at + {fortnight}, spent) AS bought
                FROM {table} WHERE event IN ('exp_exposure', 'purchase')
                GROUP BY actor HAVING countIf(event = 'exp_exposure') > 0) GROUP BY arm""",
        }

    def rows(self, query):
        settings = " SETTINGS max_threads = 2, output_format_json_quote_64bit_integers = 0"
        text = self.session.query(query + settings, "JSONCompactEachRow").bytes().decode()
        return [json.loads(line) for line in text.splitlines()]

    def ask(self, question):
        for order in self.orders:
            query = self.questions(f"bench.{order}")[question]
            start = time.perf_counter()
            rows = self.rows(query)
            yield order, (time.perf_counter() - start) * 1e3, rows


def main():
    by_time, by_actor, cache, wanted = sys.argv[1:5]
    files = {"time": by_time, "actor": by_actor}
    os.makedirs(cache, exist_ok=True)
    engines = [kind(files, cache) for kind in (DuckDb, ClickHouse) if kind.name in wanted.split(",")]
    print(json.dumps({"ready": [engine.name for engine in engines]}), flush=True)
    for line in sys.stdin:
        answers = []
        for engine in engines:
            for order, millis, rows in engine.ask(line.strip()):
                rows = [[plain(value) for value in row] for row in rows]
                answers.append({"engine": engine.name, "order": order, "millis": millis, "rows": rows})
        print(json.dumps(answers), flush=True)


main()
