package org.harexport.core

import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Compares the preprocessing with Python on tests/golden/stream.json. */
class StreamGoldenTest {
    private val golden = JSONObject(File(REPOSITORY, "tests/golden/stream.json").readText())
    private val cases = golden.getJSONArray("cases").let { cases -> List(cases.length()) { cases.getJSONObject(it) } }

    @Test
    fun `filter sections match scipy`() {
        val expected = golden.getJSONObject("sections")
        val chain = CONTRACT.filters
        for ((name, lowpass) in mapOf("noise" to chain.noise, "gravity" to chain.gravity, "drift" to chain.drift)) {
            val sections = Butterworth.sections(lowpass, CONTRACT.rateHz)
            val rows = rows(expected.getJSONArray(name))
            assertEquals(name, rows.size, sections.size)
            for ((section, row) in sections.zip(rows)) {
                val own = doubleArrayOf(section.b0, section.b1, section.b2, 1.0, section.a1, section.a2)
                assertEquals(name, 0.0, maxDifference(own, row), 1e-12)
            }
        }
    }

    @Test
    fun `grid samples, restarts and dropped samples match Python`() {
        for (case in cases) {
            val resampler = Resampler(sensorsOf(CONTRACT), CONTRACT.rateHz, averageOver(case))
            val grid = ArrayList<GridSample>()
            val restarts = ArrayList<Triple<Long, String, Int>>()
            for (sample in samplesOf(case)) {
                val divisor = divisorOf(sample.sensor, units(case).getValue(sample.sensor))
                val values = DoubleArray(3) { sample.values[it] / divisor }
                for (event in resampler.push(sample.sensor, sample.timeNs, values)) {
                    when (event) {
                        is GridSample -> grid += event
                        is Restart -> restarts += Triple(event.timeNs, event.reason, grid.size)
                    }
                }
            }
            val expected = case.getJSONArray("grid")
            assertEquals(expected.length(), grid.size)
            for ((k, sample) in grid.withIndex()) {
                val row = expected.getJSONArray(k)
                assertEquals(row.getLong(0), sample.timeNs)
                assertEquals(0.0, maxDifference(sample.values, DoubleArray(6) { row.getDouble(it + 1) }), 1e-9)
            }
            val restartRows = case.getJSONArray("restarts").let { all -> List(all.length()) { all.getJSONObject(it) } }
            assertEquals(
                restartRows.map { Triple(it.getLong("time_ns"), it.getString("reason"), it.getInt("grid_samples_before")) },
                restarts,
            )
            for ((sensor, dropped) in resampler.dropped) {
                val row = case.getJSONObject("dropped").getJSONObject(sensor.title)
                assertEquals(Dropped(row.getInt("repeated"), row.getInt("late"), row.getInt("unreadable")), dropped)
            }
        }
    }

    @Test
    fun `filtered samples match Python`() {
        for (case in cases) {
            val expected = rows(case.getJSONArray("filtered"))
            val grid = rows(case.getJSONArray("grid"))
            val restartRows = case.getJSONArray("restarts")
            val restarts = List(restartRows.length()) { restartRows.getJSONObject(it).getInt("grid_samples_before") }
            val actual = ArrayList<DoubleArray>()
            val bounds = listOf(0) + restarts + grid.size
            for ((from, to) in bounds.zipWithNext()) {
                val values = grid.subList(from, to).map { it.copyOfRange(1, 7) }
                val filters = Filters(CONTRACT)
                filters.start(values.take((START_SECONDS * CONTRACT.rateHz).toInt()))
                values.forEach { value -> filters.push(value)?.let { actual += it } }
                actual += filters.flush()
            }
            assertEquals(expected.size, actual.size)
            assertEquals(0.0, actual.zip(expected).maxOf { (own, row) -> maxDifference(own, row) }, 1e-9)
        }
    }

    @Test
    fun `windows match Python`() {
        var found = 0
        for (case in cases) {
            val filtered = rows(case.getJSONArray("filtered"))
            val stream = Stream(CONTRACT, units(case), averageOver(case))
            val events = samplesOf(case).flatMap { stream.push(it.sensor, it.timeNs, it.values) } + stream.flush()
            val windows = events.filterIsInstance<Window>()
            val expected = case.getJSONArray("windows")
            assertEquals(expected.length(), windows.size)
            found += windows.size
            for ((k, window) in windows.withIndex()) {
                val row = expected.getJSONObject(k)
                val first = row.getInt("first")
                val signals = filtered.subList(first, first + CONTRACT.window).flatMap { it.asIterable() }.toDoubleArray()
                assertEquals(0.0, maxDifference(window.signals, signals), 1e-9)
                assertEquals(row.getLong("start_ns"), window.startNs)
                assertEquals(row.getLong("end_ns"), window.endNs)
                assertEquals(row.getBoolean("settled"), window.settled)
            }
            assertEquals(case.getJSONArray("restarts").length(), events.filterIsInstance<Restart>().size)
        }
        assertTrue("$found windows", found >= 4)
    }

    private fun samplesOf(case: JSONObject): List<SensorSample> {
        val samples = case.getJSONArray("samples")
        return List(samples.length()) { k ->
            val row = samples.getJSONArray(k)
            val values = DoubleArray(3) { if (row.isNull(it + 2)) Double.NaN else row.getDouble(it + 2) }
            SensorSample(Sensor.fromTitle(row.getString(0)), row.getLong(1), values)
        }
    }

    private fun units(case: JSONObject): Map<Sensor, String> =
        case.getJSONObject("units").let { units -> Sensor.values().associateWith { units.getString(it.title) } }

    private fun averageOver(case: JSONObject): Map<Sensor, Int> =
        case.getJSONObject("mean_of").let { mean -> Sensor.values().associateWith { mean.getInt(it.title) } }

    private fun rows(array: JSONArray): List<DoubleArray> =
        List(array.length()) { k ->
            val row = array.getJSONArray(k)
            DoubleArray(row.length()) { row.getDouble(it) }
        }
}
