package org.harexport.core

import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Test

class ContractTest {
    @Test
    fun `reads a contract written by Python`() {
        assertEquals(50.0, CONTRACT.rateHz, 0.0)
        assertEquals(128 to 64, CONTRACT.window to CONTRACT.hop)
        assertEquals(listOf("body_acc_x", "total_acc_z"), listOf(CONTRACT.channels.first(), CONTRACT.channels.last()))
        assertEquals(listOf("g", "rad/s", "g"), listOf(CONTRACT.units[0], CONTRACT.units[3], CONTRACT.units[6]))
        assertEquals(6, CONTRACT.labels.size)
        assertEquals("LAYING", CONTRACT.labels.last())
        assertEquals(
            FilterChain(3, Lowpass(10, 20.0), gravity = Lowpass(3, 0.3), drift = Lowpass(2, 0.1)),
            CONTRACT.filters,
        )
        assertEquals(emptyList<String>(), CONTRACT.coarseLabels)
        assertEquals(128 * 9, CONTRACT.inputSize)
        val written = JSONObject(CONTRACT_JSON).getJSONArray("outputs")
        assertEquals(List(written.length()) { written.getJSONObject(it).getString("name") }, CONTRACT.outputs.keys.toList())
        assertEquals(listOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE), sensorsOf(CONTRACT))
    }

    @Test
    fun `reads a contract with coarse labels`() {
        val contract = Contract.parse(changed { it.put("coarse_labels", JSONArray(listOf("MOVING", "STILL"))) })
        assertEquals(listOf("MOVING", "STILL"), contract.outputs["coarse_logits"])
        assertEquals(4, contract.outputs.size)
    }

    @Test
    fun `an accelerometer-only model does not require a gyroscope`() {
        val contract =
            Contract.parse(
                changed {
                    it.put("channels", JSONArray(listOf("total_acc_x", "total_acc_y", "total_acc_z")))
                    it.put("units", JSONArray(listOf("g", "g", "g")))
                },
            )
        assertEquals(listOf(Sensor.ACCELEROMETER), sensorsOf(contract))
        assertEquals(null, SensorMonitor.findMissing(contract, setOf(Sensor.ACCELEROMETER)))
    }

    @Test
    fun `invalid contracts are rejected with a message`() {
        assertContains(inputError { Contract.parse("") }, "contract.json is not valid JSON")
        assertContains(inputError { Contract.parse("{\"contract_version\": 1", "a file") }, "a file is not valid JSON")
        assertContains(inputError { Contract.parse("[]") }, "not valid JSON")
        assertContains(inputError { Contract.parse("{}") }, "not a harexport contract of version 1 or 2")
        assertContains(inputError { Contract.parse(changed { it.put("contract_version", 3) }) }, "version 1")
        for (key in listOf("rate_hz", "window", "hop", "channels", "units", "labels", "filters")) {
            assertContains(inputError { Contract.parse(changed { it.remove(key) }) }, "missing or invalid", key)
        }
        assertContains(inputError { Contract.parse(changed { it.getJSONObject("filters").remove("drift") }) }, "drift")
        assertContains(inputError { Contract.parse(changed { it.put("window", "many") }) }, "window")
    }

    @Test
    fun `inconsistent contracts are rejected`() {
        for ((key, value) in listOf("rate_hz" to 0, "rate_hz" to -50, "window" to 0, "hop" to 0, "window" to 1_000_000_000)) {
            assertContains(inputError { Contract.parse(changed { it.put(key, value) }) }, "is inconsistent")
        }
        assertContains(inputError { Contract.parse(changed { it.put("units", JSONArray(listOf("g"))) }) }, "is inconsistent")
        val duplicates = JSONArray(listOf("WALKING", "WALKING"))
        assertContains(inputError { Contract.parse(changed { it.put("labels", duplicates) }) }, "must be distinct")
        assertContains(inputError { Contract.parse(changed { it.put("labels", JSONArray(listOf("UP", " "))) }) }, "must be distinct")
        assertContains(inputError { Contract.parse(changed { it.put("labels", JSONArray(listOf("UP", "DO\nWN"))) }) }, "one line")
        assertContains(inputError { Contract.parse(changed { it.put("labels", JSONArray()) }) }, "must be distinct")
    }

    @Test
    fun `unsupported channels, units and filters are rejected`() {
        fun streamError(change: (JSONObject) -> Unit) = inputError { Stream(Contract.parse(changed(change))) }
        assertContains(streamError { it.getJSONArray("channels").put(0, "magnetometer_x") }, "magnetometer_x", "body_acc_x|y|z")
        assertContains(streamError { it.getJSONArray("channels").put(0, "body_acc_w") }, "body_acc_w")
        assertContains(streamError { it.getJSONArray("units").put(0, "m/s2") }, "body_acc_x in m/s2", "supported is g")
        assertContains(streamError { it.getJSONObject("filters").put("median", 4) }, "must be odd")
        assertContains(streamError { it.getJSONObject("filters").getJSONObject("noise").put("cutoff_hz", 25) }, "invalid")
        assertContains(inputError { Stream(CONTRACT, mapOf(Sensor.ACCELEROMETER to "mg")) }, "'mg'", "g, m/s2")
        assertContains(inputError { Sensor.fromTitle("barometer") }, "barometer")
    }

    private fun changed(change: (JSONObject) -> Unit): String = JSONObject(CONTRACT_JSON).also(change).toString()
}
