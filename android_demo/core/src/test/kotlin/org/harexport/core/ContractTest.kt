package org.harexport.core

import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Test

class ContractTest {
    @Test
    fun `what Python wrote is read`() {
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
    fun `a second head is read`() {
        val contract = Contract.parse(changed { it.put("coarse_labels", JSONArray(listOf("MOVING", "STILL"))) })
        assertEquals(listOf("MOVING", "STILL"), contract.outputs["coarse_logits"])
        assertEquals(4, contract.outputs.size)
    }

    @Test
    fun `a model of the accelerometer alone needs no gyroscope`() {
        val contract =
            Contract.parse(
                changed {
                    it.put("channels", JSONArray(listOf("total_acc_x", "total_acc_y", "total_acc_z")))
                    it.put("units", JSONArray(listOf("g", "g", "g")))
                },
            )
        assertEquals(listOf(Sensor.ACCELEROMETER), sensorsOf(contract))
        assertEquals(null, Guard.missing(contract, setOf(Sensor.ACCELEROMETER)))
    }

    @Test
    fun `what is no contract is refused in words`() {
        assertSays(refusal { Contract.parse("") }, "contract.json is damaged")
        assertSays(refusal { Contract.parse("{\"contract_version\": 1", "a file") }, "a file is damaged")
        assertSays(refusal { Contract.parse("[]") }, "damaged")
        assertSays(refusal { Contract.parse("{}") }, "not a harexport contract of version 1")
        assertSays(refusal { Contract.parse(changed { it.put("contract_version", 2) }) }, "version 1")
        for (key in listOf("rate_hz", "window", "hop", "channels", "units", "labels", "filters")) {
            assertSays(refusal { Contract.parse(changed { it.remove(key) }) }, "lacks or misstates", key)
        }
        assertSays(refusal { Contract.parse(changed { it.getJSONObject("filters").remove("drift") }) }, "drift")
        assertSays(refusal { Contract.parse(changed { it.put("window", "many") }) }, "window")
    }

    @Test
    fun `contracts that do not fit together are refused`() {
        for ((key, value) in listOf("rate_hz" to 0, "rate_hz" to -50, "window" to 0, "hop" to 0, "window" to 1_000_000_000)) {
            assertSays(refusal { Contract.parse(changed { it.put(key, value) }) }, "do not fit together")
        }
        assertSays(refusal { Contract.parse(changed { it.put("units", JSONArray(listOf("g"))) }) }, "do not fit together")
        val twice = JSONArray(listOf("WALKING", "WALKING"))
        assertSays(refusal { Contract.parse(changed { it.put("labels", twice) }) }, "different words")
        assertSays(refusal { Contract.parse(changed { it.put("labels", JSONArray(listOf("UP", " "))) }) }, "different words")
        assertSays(refusal { Contract.parse(changed { it.put("labels", JSONArray(listOf("UP", "DO\nWN"))) }) }, "one line")
        assertSays(refusal { Contract.parse(changed { it.put("labels", JSONArray()) }) }, "different words")
    }

    @Test
    fun `what this chain cannot make is refused`() {
        fun opened(change: (JSONObject) -> Unit) = refusal { Stream(Contract.parse(changed(change))) }
        assertSays(opened { it.getJSONArray("channels").put(0, "magnetometer_x") }, "magnetometer_x", "body_acc_x|y|z")
        assertSays(opened { it.getJSONArray("channels").put(0, "body_acc_w") }, "body_acc_w")
        assertSays(opened { it.getJSONArray("units").put(0, "m/s2") }, "body_acc_x in m/s2", "in g")
        assertSays(opened { it.getJSONObject("filters").put("median", 4) }, "no middle")
        assertSays(opened { it.getJSONObject("filters").getJSONObject("noise").put("cutoff_hz", 25) }, "impossible")
        assertSays(refusal { Stream(CONTRACT, mapOf(Sensor.ACCELEROMETER to "mg")) }, "'mg'", "g, m/s2")
        assertSays(refusal { Sensor.named("barometer") }, "barometer")
    }

    private fun changed(change: (JSONObject) -> Unit): String = JSONObject(CONTRACT_JSON).also(change).toString()
}
