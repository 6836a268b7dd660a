package org.harexport.core

/**
 * Returns the index of the first contract whose sensors are all in [available]; null if there is none.
 *
 * Contracts with other labels than the first one are left out: they belong to another task. List the model for all
 * sensors first, then the one for the accelerometer only.
 */
fun chooseModel(contracts: List<Contract>, available: Set<Sensor>): Int? =
    contracts.indices.firstOrNull { contracts[it].labels == contracts[0].labels && available.containsAll(sensorsOf(contracts[it])) }
