package org.harexport.core

import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** tests/golden/stream.json: what Python's chain makes of the same samples. */
class StreamGoldenTest {
    private val golden = JSONObject(File(REPOSITORY, "tests/golden/stream.json").readText())
    private val cases = golden.getJSONArray("cases").let { cases -> List(cases.length()) { cases.getJSONObject(it) } }

    @Test
    fun `sections are scipy's`() {
        val wanted = golden.getJSONObject("sections")
        val chain = CONTRACT.filters
        for ((name, lowpass) in mapOf("noise" to chain.noise, "gravity" to chain.gravity, "drift" to chain.drift)) {
            val sections = Butterworth.sections(lowpass, CONTRACT.rateHz)
            val rows = rows(wanted.getJSONArray(name))
            assertEquals(name, rows.size, sections.size)
            for ((section, row) in sections.zip(rows)) {
                val own = doubleArrayOf(section.b0, section.b1, section.b2, 1.0, section.a1, section.a2)
                assertEquals(name, 0.0, largest(own, row), 1e-12)
            }
        }
    }

    @Test
    fun `the grid, its restarts and what is dropped are Python's`() {
        for (case in cases) {
            val resampler = Resampler(sensorsOf(CONTRACT), CONTRACT.rateHz, meanOf(case))
            val grid = ArrayList<GridSample>()
            val restarts = ArrayList<Triple<Long, String, Int>>()
            for (sample in sampled(case)) {
                val by = divisorOf(sample.sensor, units(case).getValue(sample.sensor))
                val values = DoubleArray(3) { sample.values[it] / by }
                for (event in resampler.push(sample.sensor, sample.timeNs, values)) {
                    when (event) {
                        is GridSample -> grid += event
                        is Restart -> restarts += Triple(event.timeNs, event.reason, grid.size)
                    }
                }
            }
            val wanted = case.getJSONArray("grid")
            assertEquals(wanted.length(), grid.size)
            for ((k, sample) in grid.withIndex()) {
                val row = wanted.getJSONArray(k)
                assertEquals(row.getLong(0), sample.timeNs)
                assertEquals(0.0, largest(sample.values, DoubleArray(6) { row.getDouble(it + 1) }), 1e-9)
            }
            val told = case.getJSONArray("restarts").let { all -> List(all.length()) { all.getJSONObject(it) } }
            assertEquals(
                told.map { Triple(it.getLong("time_ns"), it.getString("reason"), it.getInt("grid_samples_before")) },
                restarts,
            )
            for ((sensor, dropped) in resampler.dropped) {
                val row = case.getJSONObject("dropped").getJSONObject(sensor.title)
                assertEquals(Dropped(row.getInt("repeated"), row.getInt("late"), row.getInt("unreadable")), dropped)
            }
        }
    }

    @Test
    fun `filtered samples are Python's`() {
        for (case in cases) {
            val wanted = rows(case.getJSONArray("filtered"))
            val grid = rows(case.getJSONArray("grid"))
            val told = case.getJSONArray("restarts")
            val restarts = List(told.length()) { told.getJSONObject(it).getInt("grid_samples_before") }
            var filters = Filters(CONTRACT)
            val made = ArrayList<DoubleArray>()
            for ((k, row) in grid.withIndex()) {
                if (k in restarts) {
                    made += filters.flush()
                    filters = Filters(CONTRACT)
                }
                filters.push(row.copyOfRange(1, 7))?.let { made += it }
            }
            made += filters.flush()
            assertEquals(wanted.size, made.size)
            assertEquals(0.0, made.zip(wanted).maxOf { (own, row) -> largest(own, row) }, 1e-9)
        }
    }

    @Test
    fun `windows are Python's`() {
        var found = 0
        for (case in cases) {
            val filtered = rows(case.getJSONArray("filtered"))
            val stream = Stream(CONTRACT, units(case), meanOf(case))
            val events = sampled(case).flatMap { stream.push(it.sensor, it.timeNs, it.values) } + stream.flush()
            val windows = events.filterIsInstance<Window>()
            val wanted = case.getJSONArray("windows")
            assertEquals(wanted.length(), windows.size)
            found += windows.size
            for ((k, window) in windows.withIndex()) {
                val row = wanted.getJSONObject(k)
                val first = row.getInt("first")
                val signals = filtered.subList(first, first + CONTRACT.window).flatMap { it.asIterable() }.toDoubleArray()
                assertEquals(0.0, largest(window.signals, signals), 1e-9)
                assertEquals(row.getLong("start_ns"), window.startNs)
                assertEquals(row.getLong("end_ns"), window.endNs)
                assertEquals(row.getBoolean("settled"), window.settled)
            }
            assertEquals(case.getJSONArray("restarts").length(), events.filterIsInstance<Restart>().size)
        }
        assertTrue("$found windows", found >= 4)
    }

    private fun sampled(case: JSONObject): List<GoldenSample> {
        val samples = case.getJSONArray("samples")
        return List(samples.length()) { k ->
            val row = samples.getJSONArray(k)
            val values = DoubleArray(3) { if (row.isNull(it + 2)) Double.NaN else row.getDouble(it + 2) }
            GoldenSample(Sensor.named(row.getString(0)), row.getLong(1), values)
        }
    }

    private fun units(case: JSONObject): Map<Sensor, String> =
        case.getJSONObject("units").let { units -> Sensor.values().associateWith { units.getString(it.title) } }

    private fun meanOf(case: JSONObject): Map<Sensor, Int> =
        case.getJSONObject("mean_of").let { mean -> Sensor.values().associateWith { mean.getInt(it.title) } }

    private fun rows(array: JSONArray): List<DoubleArray> =
        List(array.length()) { k ->
            val row = array.getJSONArray(k)
            DoubleArray(row.length()) { row.getDouble(it) }
        }
}
