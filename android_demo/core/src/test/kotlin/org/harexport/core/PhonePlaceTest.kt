package org.harexport.core

import java.io.File
import java.util.Random
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Test

class PhonePlaceTest {
    private val noise = Random(3)

    /** Returns the place after three seconds at gravity [x], [y], [z] in g with normal noise of [deviation]. */
    private fun place(x: Double, y: Double, z: Double, deviation: Double): PhonePlace {
        val detector = PhonePlaceDetector()
        for (timeNs in times(50.0, 3.0)) {
            detector.push(timeNs, doubleArrayOf(x, y, z).map { (it + deviation * noise.nextGaussian()) * STANDARD_GRAVITY }.toDoubleArray())
        }
        return detector.place
    }

    @Test
    fun `a phone on a table or in the hand is recognized`() {
        assertEquals(PhonePlace.ON_TABLE, place(0.0, 0.02, 1.0, 0.0015))
        assertEquals("face down", PhonePlace.ON_TABLE, place(0.0, 0.02, -1.0, 0.0015))
        assertEquals(PhonePlace.IN_HAND, place(0.1, 0.7, 0.7, 0.02))
        assertEquals("a lying person breathes", PhonePlace.OTHER, place(0.0, 0.02, 1.0, 0.005))
        assertEquals("upright", PhonePlace.OTHER, place(1.0, 0.0, 0.0, 0.0015))
        assertEquals("a sensor that repeats one value", PhonePlace.OTHER, place(0.0, 0.0, 1.0, 0.0))
        assertEquals("falling", PhonePlace.OTHER, place(0.0, 0.0, 0.0, 0.001))
        assertEquals("not finite", PhonePlace.OTHER, place(0.0, Double.NaN, 1.0, 0.001))
    }

    @Test
    fun `a person who walks or stands wears the phone`() {
        val parts = JSONObject(File(REPOSITORY, "tests/golden/mount.json").readText()).getJSONArray("acceleration")
        for (k in 0 until parts.length()) {
            val detector = PhonePlaceDetector("g")
            for (row in 0 until parts.getJSONArray(k).length()) {
                detector.push(row * SECOND / 50, parts.getJSONArray(k).getJSONArray(row).let { g -> DoubleArray(3) { g.getDouble(it) } })
                assertEquals(PhonePlace.OTHER, detector.place)
            }
        }
    }
}
